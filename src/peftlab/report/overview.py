"""One row for each method in each setting: what the comparison table and its CSV show."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, fields

from peftlab.report.inference import bootstrap_interval
from peftlab.report.study import Cell, Study, task_name


@dataclass(frozen=True)
class Row:
    """Scores in percent; `low` and `high` bound the mean's 95 % bootstrap interval; costs are means over seeds.

    `share` is `tuned` in percent of all parameters; `memory` the largest peak, in bytes. `seeds` and `scores` go
    together.
    """

    task: str
    block: str
    method: str
    strategy: str
    metric: str | None
    split: str
    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    runs: int
    collapsed: tuple[int, ...]
    missing: int
    tuned: float | None
    share: float | None
    delta_bytes: float | None
    seconds: float | None
    memory: int | None

    @property
    def flags(self) -> str:
        """What a reader must know of the number beside it, in words."""
        flags = [f"collapsed: seed {', '.join(map(str, self.collapsed))}"] if self.collapsed else []
        return "; ".join(flags + ([f"{self.missing} of {self.runs} without a score"] if self.missing else []))


def rows(study: Study) -> list[Row]:
    """Return the rows, setting by setting, best mean first."""
    return [_row(cell) for cell in study.cells]


def csv_rows(of: Iterable[Row]) -> list[list[object]]:
    """Return a header and the rows, lists joined by spaces."""
    names = [field.name for field in fields(Row)]
    values = [[getattr(row, name) for name in names] for row in of]
    return [names, *([" ".join(map(str, v)) if isinstance(v, tuple) else v for v in row] for row in values)]


def _row(cell: Cell) -> Row:
    interval = bootstrap_interval([list(cell.scores.values())]) if cell.scores else None
    counted = [run.parameters for run in cell.finished if run.parameters]
    return Row(
        task=task_name(cell.setting.task),
        block=cell.setting.block.title,
        method=cell.method.label,
        strategy=cell.method.strategy,
        metric=cell.metric,
        split=cell.split,
        mean=cell.mean,
        std=cell.std,
        low=interval[0] if interval else None,
        high=interval[1] if interval else None,
        seeds=tuple(cell.scores),
        scores=tuple(cell.scores.values()),
        runs=len(cell.runs),
        collapsed=tuple(cell.collapsed),
        missing=len(cell.missing),
        tuned=_mean(parameters.tuned for parameters in counted),
        share=_mean(100 * parameters.tuned / parameters.total for parameters in counted),
        delta_bytes=_mean(run.delta.bytes for run in cell.finished if run.delta),
        seconds=_mean(run.seconds.training for run in cell.finished),
        memory=max((run.memory.peak_bytes or 0 for run in cell.finished if run.memory), default=0) or None,
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
