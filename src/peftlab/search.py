"""``python -m peftlab.search FOLDER``: the learning rates that `experiment=search` found best, as a recipe.

The rule: of a strategy's rates the one with the best mean over tasks of the primary metric on held-out examples (a
task's is its mean over seeds). Runs that collapsed or failed put their rate below every rate with fewer of them; in the
mean a failed run counts as the worst run of its task; of equal rates the lower is taken. A strategy with fewer trials
than the others is given no rate: the budget is the same for all, or it is no comparison.
"""

import argparse
import shlex
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from peftlab.backbones.spec import folder_name
from peftlab.command_line import add_plugins_option, any_output, program
from peftlab.errors import UserError, require
from peftlab.files import write_text_atomic
from peftlab.registry import load_plugins
from peftlab.results.backbones import Backbones
from peftlab.results.found import find_records
from peftlab.results.record import RunRecord
from peftlab.results.scores import Scale
from peftlab.results.trials import TaskSeed, Trial, Trials, holdout_of, rate_of, trials_of
from peftlab.results.tuning_curves import BOUND, TuningCurves, tuning_curves


@dataclass(frozen=True)
class SearchResult:
    """The trials of each row of the recipe, and the backbone and the held-out examples that they share.

    `choice` is what chooses the backbone on a command line, `recipe` what its new recipe builds upon.
    """

    backbone: str
    choice: str
    recipe: str
    held_out: str
    trials: Trials


def find_best(records: Iterable[RunRecord]) -> SearchResult:
    """Return the trials of each strategy, best first.

    Raises:
        UserError: runs that no search has made, that validated on what a comparison reports, or that do not belong
            together; tasks whose metrics have no common mean.
    """
    records = list(records)
    by_row = _by_rate(records)
    backbones = Backbones(records)
    settings = {(backbones.name(record), _held_out(record)) for record in records}
    trials = trials_of(by_row)
    require(len(settings) == 1, f"one search has one backbone and one split, here are {sorted(settings)}")
    ((backbone, held_out),) = settings
    return SearchResult(backbone, *_choice(backbone, records[0]), held_out, trials)


def _by_rate(records: Iterable[RunRecord]) -> dict[str, dict[float, dict[TaskSeed, RunRecord]]]:
    """Return the runs by the row of the recipe, then by their rate; UserError for two of one task and seed."""
    found: dict[str, dict[float, dict[TaskSeed, RunRecord]]] = defaultdict(lambda: defaultdict(dict))
    for record in records:
        rate = _rate(record)
        other = found[_row(record)][rate].setdefault((record.task, record.seed), record)
        require(
            other is record,
            f"{record.folder} and {other.folder}: both are {record.strategy} at {rate:g} on {record.task} with seed "
            f"{record.seed}; a search varies the rate alone",
        )
    return found


def to_recipe(result: SearchResult, folder: Path) -> str:
    """Return the winners as a file for ``conf/recipe``, with every trial beside its strategy and its tuning curve."""
    name = f"{result.backbone}-searched"
    trials, scale = result.trials, result.trials.scale
    done = {row: found for row, found in trials.of.items() if row not in trials.incomplete}
    runs = sorted(set().union(*(trial.runs for found in trials.of.values() for trial in found)))
    tasks, seeds = (", ".join(dict.fromkeys(str(run[i]) for run in runs)) for i in (0, 1))
    count = max((len(found) for found in done.values()), default=0)
    shown = scale.factor.replace("×", "x") + scale.remark
    lines = [
        f"# python train.py +strategy=NAME task=TASK {result.choice} recipe={name}",
        f"# Made by: python -m peftlab.search {folder} --write conf/recipe/{name}.yaml",
        f"# {count} rates a strategy, {result.held_out}, tasks {tasks}, seeds {seeds}; the best mean over tasks.",
        f"# Beside each: mean{shown} of every rate, and which of its runs collapsed or failed.",
        f"defaults: [{result.recipe}]",
        "searched:" if done else "searched: {}",
        *(
            f"  {row}: {{learning_rate: {_number(found[0].rate)}}}   # {_told(found, scale)}"
            for row, found in sorted(done.items())
        ),
        *(f"# {row}: not searched alike: {why}" for row, why in sorted(trials.incomplete.items())),
        *_curve_lines(tuning_curves(trials)),
    ]
    return "\n".join(lines) + "\n"


def _curve_lines(curves: TuningCurves | None) -> list[str]:
    """Return the tuning curves as comments: the median best of so many trials, with its band."""
    if curves is None:
        return []
    columns = [["best of", *curves.curves]]
    columns += [[str(budget), *(curves.text(row, budget) for row in curves.curves)] for budget in curves.budgets]
    widths = [max(map(len, column)) for column in columns]
    table = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in zip(*columns, strict=True)]
    title = f"The median best of so many trials; all bands hold together in 95 % of searches ({BOUND})."
    return ["#", f"# {title}", *(f"#   {row}" for row in table), *(f"# {sentence}" for sentence in curves.sentences())]


def main(arguments: list[str] | None = None) -> int:
    """Print the recipe, or write it; return 0, or 2 with one line on stderr."""
    any_output()
    parser = argparse.ArgumentParser(prog=program("search", "python -m peftlab.search"), description=__doc__)
    parser.add_argument(
        "folder", type=Path, help="the folder of a search, multirun/search by default of the experiment"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="write conf/recipe/NAME.yaml; then recipe=NAME")
    add_plugins_option(parser)
    given = parser.parse_args(arguments)
    try:
        load_plugins(given.plugins)
        records = find_records(given.folder)
        require(bool(records), f"no runs below {given.folder}")
        recipe = to_recipe(find_best(records), given.folder)
        if given.write is not None:
            write_text_atomic(given.write, recipe)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(recipe)
    return 0


def _choice(backbone: str, record: RunRecord) -> tuple[str, str]:
    """Return what chooses the backbone, and the recipe that there was before: a folder of weights has none."""
    given = record.config.get("backbone", {})
    if folder_name(given):
        return shlex.quote(f"backbone.path={given['path']}"), "folder"
    return f"backbone={backbone}", backbone


def _rate(record: RunRecord) -> float:
    rate = rate_of(record)
    require(rate is not None, f"{record.folder}: not a trial of a search, it was given no learning rate")
    assert rate is not None
    return rate


def _held_out(record: RunRecord) -> str:
    held_out = holdout_of(record)
    needed = "validated on the set that a comparison reports; a search needs data.holdout=SHARE"
    require(held_out is not None, f"{record.folder}: {needed}")
    assert held_out is not None
    return held_out


def _row(record: RunRecord) -> str:
    from peftlab.strategies.registry import create_strategy  # with torch, which `--help` has no use for

    options = {name: value for name, value in record.config["strategy"].items() if name != "name"}
    return create_strategy(record.strategy, options).recipe


def _number(rate: float) -> str:
    """Return a rate as YAML has numbers: `1.0e-05`, since `1e-05` would be a text."""
    text = repr(rate)
    return text if "." in text else text.replace("e", ".0e")


def _told(trials: list[Trial], scale: Scale) -> str:
    ends = {f(trial.rate for trial in trials) for f in (min, max)}
    edge = "at the edge of its rates; " if trials[0].rate in ends and len(trials) > 1 else ""
    lost = f"at its best {trials[0].losses}; " if trials[0].lost else ""
    return edge + lost + ", ".join(_trial_in_words(trial, scale) for trial in sorted(trials, key=lambda of: of.rate))


def _trial_in_words(trial: Trial, scale: Scale) -> str:
    score = "no score" if trial.mean is None else scale.text(trial.mean)
    return f"{trial.rate:g}: {score}{f' ({trial.losses})' if trial.lost else ''}"


if __name__ == "__main__":
    sys.exit(main())
