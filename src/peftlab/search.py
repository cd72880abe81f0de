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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from peftlab.backbones.spec import folder_name
from peftlab.command_line import add_plugins_option, any_output, program
from peftlab.errors import UserError, require
from peftlab.files import write_text_atomic
from peftlab.registry import load_plugins
from peftlab.results.aggregate import mean
from peftlab.results.backbones import Backbones
from peftlab.results.found import find_records
from peftlab.results.record import RunRecord
from peftlab.results.scores import PERCENT, Scale, common_scale

TaskSeed = tuple[str, int]


@dataclass(frozen=True)
class Trial:
    """One rate of one strategy: the mean score of its tasks, and how many runs collapsed or failed."""

    rate: float
    mean: float | None
    lost: int
    runs: frozenset[TaskSeed]


@dataclass(frozen=True)
class SearchResult:
    """The trials of each row of the recipe, best first, their scale, and the rows whose trials are not all there.

    `choice` is what chooses the backbone on a command line, `recipe` what its new recipe builds upon.
    """

    backbone: str
    choice: str
    recipe: str
    held_out: str
    scale: Scale
    trials: dict[str, list[Trial]]
    incomplete: dict[str, str]


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
    scale = _scale(records)
    worst = _worst(records, scale)
    trials = {
        row: sorted(
            (_trial(rate, runs, scale, worst) for rate, runs in rates.items()),
            key=lambda trial: (trial.lost, scale.order(trial.mean), trial.rate),
        )
        for row, rates in by_row.items()
    }
    require(len(settings) == 1, f"one search has one backbone and one split, here are {sorted(settings)}")
    ((backbone, held_out),) = settings
    skipped = {_row(run): f"skipped on {run.task}: {run.reason}" for run in records if run.status == "skipped"}
    return SearchResult(
        backbone, *_choice(backbone, records[0]), held_out, scale, trials, _incomplete(trials) | skipped
    )


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
    """Return the winners as a file for ``conf/recipe``, with every trial beside its strategy."""
    name = f"{result.backbone}-searched"
    done = {row: trials for row, trials in result.trials.items() if row not in result.incomplete}
    runs = sorted(set().union(*(trial.runs for trials in result.trials.values() for trial in trials)))
    tasks, seeds = (", ".join(dict.fromkeys(str(run[i]) for run in runs)) for i in (0, 1))
    count = max((len(trials) for trials in done.values()), default=0)
    shown = result.scale.factor.replace("×", "x") + result.scale.remark
    lines = [
        f"# python train.py +strategy=NAME task=TASK {result.choice} recipe={name}",
        f"# Made by: python -m peftlab.search {folder} --write conf/recipe/{name}.yaml",
        f"# {count} rates a strategy, {result.held_out}, tasks {tasks}, seeds {seeds}; the best mean over tasks.",
        f"# Beside each: mean{shown} of every rate, and how many of its runs collapsed or failed.",
        f"defaults: [{result.recipe}]",
        "searched:" if done else "searched: {}",
        *(
            f"  {row}: {{learning_rate: {_number(trials[0].rate)}}}   # {_told(trials, result.scale)}"
            for row, trials in sorted(done.items())
        ),
        *(f"# {row}: not searched alike: {why}" for row, why in sorted(result.incomplete.items())),
    ]
    return "\n".join(lines) + "\n"


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
    rate = record.config.get("training", {}).get("learning_rate")
    require(isinstance(rate, (int, float)), f"{record.folder}: not a trial of a search, it was given no learning rate")
    return float(rate)


def _held_out(record: RunRecord) -> str:
    holdout = record.config.get("data", {}).get("holdout")
    require(
        holdout is not None or record.shots is not None,
        f"{record.folder}: validated on the set that a comparison reports; a search needs data.holdout=SHARE",
    )
    return f"data.holdout={holdout}" if record.shots is None else f"shots={record.shots}"


def _row(record: RunRecord) -> str:
    from peftlab.strategies.registry import create_strategy  # with torch, which `--help` has no use for

    options = {name: value for name, value in record.config["strategy"].items() if name != "name"}
    return create_strategy(record.strategy, options).recipe


def _scale(records: Iterable[RunRecord]) -> Scale:
    """Return the scale of a mean over the tasks; UserError where their metrics have none in common."""
    scales = {record.task: Scale.of(record.metric) for record in records if record.metric}
    common = common_scale(scales.values()) if scales else PERCENT
    told = ", ".join(f"{scale.name} of {task}{scale.remark}" for task, scale in sorted(scales.items()))
    require(common is not None, f"a search takes one mean over its tasks, and {told} have none: search them apart")
    assert common is not None
    return common


def _worst(records: Iterable[RunRecord], scale: Scale) -> dict[str, float]:
    """Return the worst score of each task that has one."""
    scores: dict[str, list[float]] = defaultdict(list)
    for record in records:
        score = _score(record, scale)
        if score is not None:
            scores[record.task].append(score)
    return {task: scale.worst(found) for task, found in scores.items()}


def _score(record: RunRecord, scale: Scale) -> float | None:
    value = record.metric.validation if record.metric else None
    return None if value is None else scale.score(value)


def _trial(rate: float, runs: Mapping[TaskSeed, RunRecord], scale: Scale, worst: Mapping[str, float]) -> Trial:
    over = {run: record for run, record in runs.items() if record.status in ("finished", "failed")}
    scores: dict[str, list[float | None]] = defaultdict(list)
    for (task, _), record in over.items():
        score = _score(record, scale)
        scores[task].append(worst.get(task) if score is None else score)
    return Trial(
        rate=rate,
        mean=mean(map(mean, scores.values())),
        lost=sum(record.collapsed or _score(record, scale) is None for record in over.values()),
        runs=frozenset(over),
    )


def _incomplete(trials: Mapping[str, list[Trial]]) -> dict[str, str]:
    most = max(map(len, trials.values()))
    runs = frozenset[TaskSeed]().union(*(trial.runs for row in trials.values() for trial in row))
    lacking = {}
    for row, found in trials.items():
        missing = sum(len(runs - trial.runs) for trial in found)
        if missing or len(found) < most:
            lacking[row] = f"{len(found)} of {most} rates, {missing} of their runs are missing"
    return lacking


def _number(rate: float) -> str:
    """Return a rate as YAML has numbers: `1.0e-05`, since `1e-05` would be a text."""
    text = repr(rate)
    return text if "." in text else text.replace("e", ".0e")


def _told(trials: list[Trial], scale: Scale) -> str:
    ends = {f(trial.rate for trial in trials) for f in (min, max)}
    edge = "at the edge of its rates; " if trials[0].rate in ends and len(trials) > 1 else ""
    return edge + ", ".join(_trial_in_words(trial, scale) for trial in sorted(trials, key=lambda trial: trial.rate))


def _trial_in_words(trial: Trial, scale: Scale) -> str:
    score = "no score" if trial.mean is None else scale.text(trial.mean)
    return f"{trial.rate:g}: {score}{f' ({trial.lost} lost)' if trial.lost else ''}"


if __name__ == "__main__":
    sys.exit(main())
