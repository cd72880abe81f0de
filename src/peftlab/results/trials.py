"""The trials of a search of learning rates: what each rate gave over all tasks and seeds."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from peftlab.errors import require
from peftlab.results.aggregate import Cell, mean
from peftlab.results.record import RunRecord
from peftlab.results.scores import PERCENT, Scale, common_scale

TaskSeed = tuple[str, int]
Runs = Mapping[TaskSeed, RunRecord]
RATE = "training.learning_rate"
NAMED = 3  # lost runs of a trial that are named; of more only their number is told


@dataclass(frozen=True)
class Trial:
    """One rate of one strategy: the mean score of its tasks, its runs, and those of them that collapsed or failed.

    A task's score is its mean over seeds, collapsed runs among them; a failed run counts as the worst run of its task.
    """

    rate: float
    mean: float | None
    runs: frozenset[TaskSeed]
    collapsed: tuple[TaskSeed, ...] = ()
    failed: tuple[TaskSeed, ...] = ()

    @property
    def lost(self) -> int:
        """How many runs collapsed or failed."""
        return len(self.collapsed) + len(self.failed)

    @property
    def losses(self) -> str:
        """In words, for example ``1 of 3 runs collapsed, mrpc seed 2``; empty where none did."""
        told = ((self.collapsed, "collapsed"), (self.failed, "failed"))
        return "; ".join(f"{self._counted(of)} {what}{self._named(of)}" for of, what in told if of)

    def _counted(self, runs: tuple[TaskSeed, ...]) -> str:
        return "every run" if len(runs) == len(self.runs) else f"{len(runs)} of {len(self.runs)} runs"

    def _named(self, runs: tuple[TaskSeed, ...]) -> str:
        """Return which runs these are; nothing where they are all, or too many to be read."""
        few = len(runs) < len(self.runs) and len(runs) <= NAMED
        return ", " + ", ".join(f"{task} seed {seed}" for task, seed in runs) if few else ""


@dataclass(frozen=True)
class Trials:
    """The trials of each strategy, best first, their scale and its bounds, and whose trials are not all there.

    `drawn` says whether the rates are random draws; else they are a grid.
    """

    of: dict[str, list[Trial]]
    incomplete: dict[str, str]
    scale: Scale
    bounds: tuple[float, float]
    drawn: bool


def trials_of(by_rate: Mapping[str, Mapping[float, Runs]]) -> Trials:
    """Return the trials of runs by strategy and rate.

    Best is the rate with the best mean; runs that collapsed or failed put their rate below every rate with fewer of
    them, and of equal rates the lower is first.

    Raises:
        UserError: tasks whose metrics have no common mean.
    """
    each = [run for rates in by_rate.values() for runs in rates.values() for run in runs.items()]
    records = [record for _, record in each]
    scale, bounds = _scale(records)
    worst = _worst(each, scale)
    trials = {
        row: sorted(
            (_trial(rate, runs, scale, worst) for rate, runs in rates.items()),
            key=lambda trial: (trial.lost, scale.order(trial.mean), trial.rate),
        )
        for row, rates in by_rate.items()
    }
    skipped = {
        row: f"skipped on {run.task}: {run.reason}"
        for row, rates in by_rate.items()
        for runs in rates.values()
        for run in runs.values()
        if run.status == "skipped"
    }
    drawn = all((record.config.get("search") or {}).get("draw") == "log-uniform" for record in records)
    return Trials(trials, _incomplete(trials) | skipped, scale, bounds, drawn)


def rate_of(record: RunRecord) -> float | None:
    """Return the learning rate that a run was given; None where it took that of its recipe."""
    rate = (record.config.get("training") or {}).get("learning_rate")
    return float(rate) if isinstance(rate, (int, float)) else None


def same_search(first: Cell, second: Cell) -> bool:
    """Return whether two cells are trials of one method in a search: they differ in the learning rate alone."""
    options = [{key: value for key, value in cell.method.options if key != RATE} for cell in (first, second)]
    searched = all(run.config.get("search") for cell in (first, second) for run in cell.runs)
    return searched and first.method.strategy == second.method.strategy and options[0] == options[1]


def holdout_of(record: RunRecord) -> str | None:
    """Return what a run validated on, where no comparison reports it, for example ``data.holdout=0.2``; else None."""
    holdout = (record.config.get("data") or {}).get("holdout")
    if record.shots is not None:
        return f"shots={record.shots}"
    return None if holdout is None else f"data.holdout={holdout}"


def _scale(records: Iterable[RunRecord]) -> tuple[Scale, tuple[float, float]]:
    """Return the scale of a mean over the tasks and its bounds; UserError where their metrics have none in common."""
    scales = {record.task: Scale.of(record.metric) for record in records if record.metric}
    common = common_scale(scales.values()) if scales else PERCENT
    told = ", ".join(f"{scale.name} of {task}{scale.remark}" for task, scale in sorted(scales.items()))
    require(common is not None, f"a search takes one mean over its tasks, and {told} have none: search them apart")
    assert common is not None
    each = [scale.bounds for scale in scales.values()] or [common.bounds]
    low, high = (sum(ends) / len(each) for ends in zip(*each, strict=True))
    return common, (low, high)


def _worst(each: Iterable[tuple[TaskSeed, RunRecord]], scale: Scale) -> dict[str, float]:
    """Return the worst score of each task that has one."""
    scores: dict[str, list[float]] = defaultdict(list)
    for (task, _), record in each:
        score = _score(record, scale)
        if score is not None:
            scores[task].append(score)
    return {task: scale.worst(found) for task, found in scores.items()}


def _score(record: RunRecord, scale: Scale) -> float | None:
    value = record.metric.validation if record.metric else None
    return None if value is None else scale.score(value)


def _trial(rate: float, runs: Runs, scale: Scale, worst: Mapping[str, float]) -> Trial:
    over = {run: record for run, record in runs.items() if record.status in ("finished", "failed")}
    scores: dict[str, list[float | None]] = defaultdict(list)
    for (task, _), record in over.items():
        score = _score(record, scale)
        scores[task].append(worst.get(task) if score is None else score)
    failed = [run for run, record in over.items() if _score(record, scale) is None]
    return Trial(
        rate=rate,
        mean=mean(map(mean, scores.values())),
        runs=frozenset(over),
        collapsed=tuple(sorted(run for run, record in over.items() if record.collapsed and run not in failed)),
        failed=tuple(sorted(failed)),
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
