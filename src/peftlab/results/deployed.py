"""Table 1 of arXiv 2305.04573, measured: what each strategy costs once it is deployed."""

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

from peftlab.results.grid import Grid
from peftlab.results.record import Delay

if TYPE_CHECKING:
    from peftlab.results.table import Row

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
    " interval of {pairs} pairs, by the {clock} clock. Where nothing is changed the models are equal: how far from 1"
    " they come is what the measurement cannot tell apart. Bytes: the delta's file, the classifier included."
)


def deployed_grid(rows: Sequence["Row"]) -> Grid:
    """Return the rows that were measured as a table, what costs least first.

    Of several seeds: the largest count, the median of the ratios and of the times, the widest interval.
    """
    measured = [row for row in rows if row.deployments]
    measured.sort(key=lambda row: (_extra(row), _changed(row), row.strategy, row.options))
    with_options = any(row.options for row in measured)
    names = ["strategy", "options"] if with_options else ["strategy"]
    cells = [[row.strategy, row.options][: len(names)] + _cells(row) for row in measured]
    pairs = sorted({delay.pairs for row in measured for delay in _delays(row)})
    clocks = sorted({delay.clock for row in measured for delay in _delays(row)})
    note = NOTE.format(pairs=" or ".join(map(str, pairs)), clock=" or ".join(clocks))
    first = measured[0]
    title = f"{first.task} · {first.backbone} · deployed, against the bare backbone"
    return Grid(title, names + COLUMNS, cells, [note], len(names))


def _cells(row: "Row") -> list[str]:
    delays = _delays(row)
    low, high = min(delay.low for delay in delays), max(delay.high for delay in delays)
    return [
        f"{_extra(row):,}",
        "yes" if _changed(row) else "no",
        f"{statistics.median(delay.ratio for delay in delays):.3f}",
        f"{low:.3f}–{high:.3f}",
        f"{1000 * statistics.median(delay.bare_seconds for delay in delays):.1f}",
        ", ".join(sorted({f"{delay.batch_size} × {delay.length}" for delay in delays})),
        "–" if row.delta_bytes is None else f"{row.delta_bytes:,.0f}",
    ]


def _delays(row: "Row") -> list[Delay]:
    return [deployment.delay for deployment in row.deployments]


def _extra(row: "Row") -> int:
    return max(deployment.extra_parameters for deployment in row.deployments)


def _changed(row: "Row") -> bool:
    return any(deployment.structure_changed for deployment in row.deployments)
