"""Table 1 of arXiv 2305.04573, measured: what each strategy costs once it is deployed."""

import statistics
from collections.abc import Sequence

from peftlab.results.aggregate import Cell
from peftlab.results.grid import Grid
from peftlab.results.record import Delay

COLUMNS = [
    "extra\nparameters",
    "structure\nchanged",
    "inference\ndelay ×",
    "95 %\ninterval",
    "bare\nms",
    "texts ×\ntokens",
    "bytes\nper task",
]
NOTE = (
    "Extra parameters and structure: of the deployed model against the bare backbone, after merging where the method"
    " merges. Delay: a forward pass's time over the bare backbone's, the two measured in turns: median and 95 %"
    " interval of {pairs} pairs (by their order alone, so it covers whatever their distribution), by the {clock} clock."
    " Where nothing is changed the models are equal: how far from 1 they come is what the measurement"
    " cannot tell apart. Bytes: the delta's file, the classifier included."
)


def deployed_grid(cells: Sequence[Cell]) -> Grid:
    """Return the methods that were measured as a table, what costs least first.

    Of several seeds: the largest count, the median of the ratios and of the times, the widest interval.
    """
    measured = [cell for cell in cells if cell.deployments]
    measured.sort(key=lambda cell: (_extra(cell), _changed(cell), cell.method.strategy, cell.method.details))
    with_options = any(cell.method.options for cell in measured)
    names = ["strategy", "options"] if with_options else ["strategy"]
    rows = [[cell.method.strategy, cell.method.details][: len(names)] + _numbers(cell) for cell in measured]
    pairs = sorted({delay.pairs for cell in measured for delay in _delays(cell)})
    clocks = sorted({delay.clock for cell in measured for delay in _delays(cell)})
    note = NOTE.format(pairs=" or ".join(map(str, pairs)), clock=" or ".join(clocks))
    setting = measured[0].setting
    title = f"{setting.task} · {setting.block.backbone} · deployed, against the bare backbone"
    return Grid(title, names + COLUMNS, rows, [note], len(names))


def _numbers(cell: Cell) -> list[str]:
    delays = _delays(cell)
    low, high = min(delay.low for delay in delays), max(delay.high for delay in delays)
    return [
        f"{_extra(cell):,}",
        "yes" if _changed(cell) else "no",
        f"{statistics.median(delay.ratio for delay in delays):.3f}",
        f"{low:.3f}–{high:.3f}",
        f"{1000 * statistics.median(delay.bare_seconds for delay in delays):.1f}",
        ", ".join(sorted({f"{delay.batch_size} × {delay.length}" for delay in delays})),
        "–" if cell.delta_bytes is None else f"{cell.delta_bytes:,.0f}",
    ]


def _delays(cell: Cell) -> list[Delay]:
    return [deployment.delay for deployment in cell.deployments]


def _extra(cell: Cell) -> int:
    return max(deployment.extra_parameters for deployment in cell.deployments)


def _changed(cell: Cell) -> bool:
    return any(deployment.structure_changed for deployment in cell.deployments)
