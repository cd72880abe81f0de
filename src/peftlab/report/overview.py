"""One row for each method in each setting: what the comparison table and its CSV show."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field, fields

from peftlab.report.inference import t_interval
from peftlab.report.study import Study
from peftlab.results.aggregate import Cell, deviation, task_name
from peftlab.results.cuts import describe_cuts
from peftlab.results.scores import METRIC_NAMES, Scale
from peftlab.results.table import ONE_ANSWER


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
    marks: tuple[str, ...] = ()
    further: tuple[str, ...] = ()

    @property
    def flags(self) -> str:
        """What a reader must know of the number beside it, in words."""
        flags = [f"collapsed: seed {', '.join(map(str, self.collapsed))}"] if self.collapsed else []
        flags += [f"{self.missing} of {self.runs} without a score"] if self.missing else []
        return "; ".join([*flags, *self.marks, *self.skipped])


def rows(study: Study) -> list[TableRow]:
    """Return the rows, setting by setting, best mean first."""
    return [_row(cell) for cell in study.cells]


def csv_rows(of: Iterable[TableRow]) -> list[list[object]]:
    """Return a header and the rows, lists joined by spaces."""
    names = [column.name for column in fields(TableRow) if column.metadata.get("csv", True)]
    values = [[getattr(row, name) for name in names] for row in of]
    return [list(names), *([_joined(v) if isinstance(v, tuple) else v for v in row] for row in values)]


def _joined(values: tuple[object, ...]) -> str:
    return ("; " if any(isinstance(value, str) for value in values) else " ").join(map(str, values))


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
        marks=tuple(marks_of(cell)),
        further=tuple(further_metrics(cell)),
    )


def marks_of(cell: Cell) -> list[str]:
    """Return what a reader must know of a cell's scores: what cut its runs short, and what makes them doubtful.

    Code with changes that no commit holds is named too: such a number cannot be made again.
    """
    cuts = describe_cuts(cell.finished)
    told = [f"{kind}: {_seeds(seeds)}: {next(iter(seeds.values()))}" for kind, seeds in sorted(cell.doubts.items())]
    changed = [run.seed for run in cell.finished if run.dirty]
    return [*([cuts] if cuts else []), *told, *([f"uncommitted changes: {_seeds(changed)}"] if changed else [])]


def further_metrics(cell: Cell) -> list[str]:
    """Return the other metrics of the split that the scores are of, for example ``Acc. 76.9 ± 2.7``.

    The last is what one answer to everything scores.
    """
    values: dict[str, list[float]] = {}
    for run in cell.finished:
        for key, value in (run.metric.further if run.metric else {}).items():
            split, _, name = key.partition("/")
            if split == cell.split and value is not None:
                values.setdefault(name, []).append(value)
    told = [f"{METRIC_NAMES.get(name, name)} {_mean_and_deviation(cell.scale, of)}" for name, of in values.items()]
    return [*told, *([] if cell.constant is None else [f"{ONE_ANSWER} {cell.scale.text(cell.constant)}"])]


def _mean_and_deviation(primary: Scale, values: list[float]) -> str:
    # A record keeps the unit of its primary metric alone: what is beyond a share's range is no share.
    scale = primary if primary.unit == "%" and all(abs(value) <= 1 for value in values) else Scale(unit="")
    scores = [scale.score(value) for value in values]
    spread = deviation(scores)
    return scale.text(statistics.fmean(scores)) + ("" if spread is None else f" ± {scale.text(spread)}")


def _seeds(seeds: Iterable[int]) -> str:
    return f"seed {', '.join(map(str, seeds))}"
