"""How often a method collapses: a result of its own, since a mean hides it and a reader who trains once meets it."""

from scipy.stats import binomtest

from peftlab.report.study import Study
from peftlab.report.tables import Entry, Table
from peftlab.results.aggregate import Block, Cell, Method
from peftlab.results.scores import percent

LEVEL = 0.95
_HEADER = ["runs", "collapsed", "%", "95 % interval", "failed"]


def instability(study: Study) -> list[Table]:
    """Return for each block in which a run collapsed or failed how often each method's did, over all tasks and seeds.

    The interval is Clopper and Pearson's (1934): whatever the rate is, it covers it in 95 % of studies or more.
    """
    tables = []
    for block in study.blocks:
        counted = {method: _counted(study.of(block), method) for method in study.methods}
        counted = {method: of for method, of in counted.items() if of[0] + of[2]}
        if any(collapsed + failed for _, collapsed, failed in counted.values()):
            tables.append(_table(block, counted))
    return tables


def _counted(cells: list[Cell], method: Method) -> tuple[int, int, int]:
    """Return a method's runs that finished, those of them that collapsed, and those that failed."""
    own = [cell for cell in cells if cell.method == method]
    failed = sum(run.status == "failed" for cell in own for run in cell.runs)
    return sum(len(cell.finished) for cell in own), sum(len(cell.collapsed) for cell in own), failed


def _table(block: Block, counted: dict[Method, tuple[int, int, int]]) -> Table:
    def rate(method: Method) -> tuple[float, str]:
        finished, collapsed, failed = counted[method]
        return (collapsed + failed) / (finished + failed), method.label

    rows = [(method.label, _entries(*counted[method])) for method in sorted(counted, key=rate)]
    note = (
        "Runs that finished, over all tasks and seeds; collapsed: one answer to everything, or a Matthews of 0; the"
        " interval of their share is Clopper and Pearson's. Compare methods that ran on the same tasks."
    )
    return Table("instability", f"Instability · {block.title}", [(name, "") for name in _HEADER], rows, [note])


def _entries(finished: int, collapsed: int, failed: int) -> list[Entry]:
    share = interval = "–"
    if finished:
        found = binomtest(collapsed, finished).proportion_ci(LEVEL, method="exact")
        share = f"{percent(collapsed, finished):.1f}"
        interval = f"{percent(found.low):.1f} to {percent(found.high):.1f}"
    return [Entry(text=text) for text in (str(finished), str(collapsed), share, interval, str(failed))]
