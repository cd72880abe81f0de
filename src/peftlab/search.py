"""``python -m peftlab.search FOLDER``: the learning rates that `experiment=search` found best, as a recipe.

The rule: of a strategy's rates the one with the highest mean over tasks of the primary metric on held-out examples
(a task's is its mean over seeds). Runs that collapsed or failed put their rate below every rate with fewer of them;
a failed run counts 0 in the mean; of equal rates the lower is taken. A strategy whose trials are fewer than the
others' is not given a rate: the budget is the same for all, or it is no comparison.
"""

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from peftlab.command_line import add_plugins_option, program
from peftlab.errors import UserError, require
from peftlab.files import write_text_atomic
from peftlab.registry import load_plugins
from peftlab.results.record import RunRecord, find_records
from peftlab.strategies.registry import create_strategy

Place = tuple[str, int]  # task, seed


@dataclass(frozen=True)
class Trial:
    """One rate of one strategy: the mean of its tasks' metrics in percent, and how many runs collapsed or failed."""

    rate: float
    mean: float
    lost: int
    places: frozenset[Place]

    @property
    def order(self) -> tuple[int, float, float]:
        """Return what trials are sorted by, the best first."""
        return self.lost, -self.mean, self.rate


@dataclass(frozen=True)
class Outcome:
    """The trials of each row of the recipe, best first, and the rows whose trials are not all there."""

    backbone: str
    setting: str
    trials: dict[str, list[Trial]]
    incomplete: dict[str, str]


def find_best(records: Iterable[RunRecord]) -> Outcome:
    """Return the trials of each strategy, best first.

    Raises:
        UserError: runs that no search has made, that validated on what a comparison reports, or that do not belong
            together.
    """
    found: dict[str, dict[float, dict[Place, RunRecord]]] = defaultdict(lambda: defaultdict(dict))
    settings = set()
    for record in records:
        rate = _rate(record)
        settings.add((record.backbone, _held_out(record)))
        runs = found[_row(record)][rate]
        other = runs.setdefault((record.task, record.seed), record)
        require(
            other is record,
            f"{record.folder} and {other.folder}: both are {record.strategy} at {rate:g} on {record.task} with seed "
            f"{record.seed}; a search varies the rate alone",
        )
    require(len(settings) == 1, f"one search has one backbone and one split, here are {sorted(settings)}")
    trials = {row: sorted(map(_trial, rates, rates.values()), key=lambda t: t.order) for row, rates in found.items()}
    ((backbone, setting),) = settings
    return Outcome(backbone, setting, trials, _incomplete(trials))


def to_recipe(outcome: Outcome, folder: Path) -> str:
    """Return the winners as a file for ``conf/recipe``, with every trial beside its strategy."""
    name = f"{outcome.backbone}-searched"
    done = {row: trials for row, trials in outcome.trials.items() if row not in outcome.incomplete}
    places = sorted(set().union(*(trial.places for trials in outcome.trials.values() for trial in trials)))
    tasks, seeds = (", ".join(dict.fromkeys(str(place[i]) for place in places)) for i in (0, 1))
    count = max((len(trials) for trials in done.values()), default=0)
    lines = [
        f"# python train.py +strategy=NAME task=TASK backbone={outcome.backbone} recipe={name}",
        f"# Made by: python -m peftlab.search {folder} --write conf/recipe/{name}.yaml",
        f"# {count} rates a strategy, {outcome.setting}, tasks {tasks}, seeds {seeds}; the best mean over tasks.",
        "# Beside each: mean x 100 of every rate, and how many of its runs collapsed or failed.",
        f"defaults: [{outcome.backbone}]",
        "searched:" if done else "searched: {}",
        *(
            f"  {row}: {{learning_rate: {_number(trials[0].rate)}}}   # {_told(trials)}"
            for row, trials in sorted(done.items())
        ),
        *(f"# {row}: not searched alike: {why}" for row, why in sorted(outcome.incomplete.items())),
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Print the recipe, or write it; return 0, or 2 with one line on stderr."""
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
    options = {name: value for name, value in record.config["strategy"].items() if name != "name"}
    return create_strategy(record.strategy, options).recipe


def _trial(rate: float, runs: Mapping[Place, RunRecord]) -> Trial:
    over = {place: run for place, run in runs.items() if run.status in ("finished", "failed")}
    scores: dict[str, list[float]] = defaultdict(list)
    for (task, _), run in over.items():
        scores[task].append((run.metric and run.metric.validation) or 0.0)
    return Trial(
        rate=rate,
        mean=100 * statistics.fmean(map(statistics.fmean, scores.values())) if scores else 0.0,
        lost=sum(run.collapsed or run.metric is None or run.metric.validation is None for run in over.values()),
        places=frozenset(over),
    )


def _incomplete(trials: Mapping[str, list[Trial]]) -> dict[str, str]:
    most = max(map(len, trials.values()))
    places = frozenset[Place]().union(*(trial.places for row in trials.values() for trial in row))
    lacking = {}
    for row, found in trials.items():
        missing = sum(len(places - trial.places) for trial in found)
        if missing or len(found) < most:
            lacking[row] = f"{len(found)} of {most} rates, {missing} of their runs are missing"
    return lacking


def _number(rate: float) -> str:
    """Return a rate as YAML has numbers: `1.0e-05`, since `1e-05` would be a text."""
    text = repr(rate)
    return text if "." in text else text.replace("e", ".0e")


def _told(trials: list[Trial]) -> str:
    ends = {f(trial.rate for trial in trials) for f in (min, max)}
    edge = "at the edge of its rates; " if trials[0].rate in ends and len(trials) > 1 else ""
    lost = [f" ({trial.lost} lost)" if trial.lost else "" for trial in trials]
    each = sorted(zip(trials, lost, strict=True), key=lambda pair: pair[0].rate)
    return edge + ", ".join(f"{trial.rate:g}: {trial.mean:.1f}{note}" for trial, note in each)


if __name__ == "__main__":
    sys.exit(main())
