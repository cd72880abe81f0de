"""One row for each method in each setting: what the comparison table and its CSV show."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from peftlab.report.inference import t_interval
from peftlab.report.study import Study
from peftlab.results.aggregate import Cell, task_name
from peftlab.results.scores import Scale


@dataclass(frozen=True)
class TableRow:
    """One method in one setting; `low` and `high` bound the mean's 95 % t interval; costs are means over seeds.

    `share` is `tuned` in percent of all parameters; `memory` the largest peak, in bytes. `seeds` and `scores` go
    together. `runs` counts those that should have a score, `missing` those of them that have none.
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
    scale: Scale = field(metadata={"csv": False})
    skipped: tuple[str, ...] = field(metadata={"csv": False})

    @property
    def flags(self) -> str:
        """What a reader must know of the number beside it, in words."""
        flags = [f"collapsed: seed {', '.join(map(str, self.collapsed))}"] if self.collapsed else []
        flags += [f"{self.missing} of {self.runs} without a score"] if self.missing else []
        return "; ".join([*flags, *self.skipped])


def rows(study: Study) -> list[TableRow]:
    """Return the rows, setting by setting, best mean first."""
    return [_row(cell) for cell in study.cells]


def csv_rows(of: Iterable[TableRow]) -> list[list[object]]:
    """Return a header and the rows, lists joined by spaces."""
    names = [column.name for column in fields(TableRow) if column.metadata.get("csv", True)]
    values = [[getattr(row, name) for name in names] for row in of]
    return [list(names), *([" ".join(map(str, v)) if isinstance(v, tuple) else v for v in row] for row in values)]


def _row(cell: Cell) -> TableRow:
    interval = t_interval([list(cell.scores.values())]) if cell.scores else None
    return TableRow(
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
        seeds=cell.seeds,
        scores=tuple(cell.scores.values()),
        runs=cell.expected,
        collapsed=tuple(cell.collapsed),
        missing=len(cell.missing),
        tuned=cell.tuned,
        share=cell.share,
        delta_bytes=cell.delta_bytes,
        seconds=cell.training_seconds,
        memory=cell.peak_bytes,
        scale=cell.scale,
        skipped=tuple(cell.skip_reasons),
    )
