"""A sweep as a table in the terminal or in Markdown: a row for each method, mean ± std over seeds."""

from collections.abc import Collection, Iterable
from itertools import groupby

from rich.console import Console

from peftlab.results.aggregate import Block, Cell, Setting, aggregate, mean
from peftlab.results.backbones import Backbones
from peftlab.results.cuts import describe_cuts
from peftlab.results.deployed import deployed_grid
from peftlab.results.grid import Grid
from peftlab.results.record import RunRecord

WIDTH = 100
ONE_ANSWER = "one answer"  # the row of the best constant answer
NARROWEST = 70  # columns; the numbers alone need about 55


def summarise(records: Iterable[RunRecord], swept: Collection[str] = ()) -> list[Cell]:
    """Return the cells of each task, backbone and number of shots, best mean first.

    All else that differs between runs, held-out data among it, is an option that the table shows, and so is what
    a sweep varies by `swept`, though its other runs have no record yet.
    """
    records = list(records)
    backbones = Backbones(records)
    cells = aggregate(
        records, lambda record: Setting(record.task, Block(backbones.name(record), record.shots)), swept=swept
    )
    return sorted(cells, key=lambda cell: (_place(cell.setting), cell.scale.order(cell.mean)))


def _place(setting: Setting) -> tuple[str, str, int]:
    return setting.task, setting.block.backbone, setting.block.shots or 0


def print_sweep(records: Iterable[RunRecord], console: Console | None = None, swept: Collection[str] = ()) -> None:
    """Print the tables of each setting (task, backbone, shots), with notes on what failed or collapsed.

    Options in `swept` name a method even where they do not vary between these runs.

    Sets the console's width: to `WIDTH` where the output is no terminal, and to `NARROWEST` at least, so that
    nothing is ever cut off.
    """
    console = console or Console()
    console.width = max(console.width, NARROWEST) if console.is_terminal else WIDTH
    for cells in _settings(records, swept):
        for grid in _grids(cells):
            grid.print(console)
            console.print()
        for line in _missing(cells):
            console.print(line, markup=False, highlight=False)


def sweep_in_markdown(records: Iterable[RunRecord]) -> str:
    """Return what `print_sweep` prints as Markdown."""
    parts = [[grid.to_markdown() for grid in _grids(cells)] + _missing(cells) for cells in _settings(records)]
    return "\n\n".join(part for setting in parts for part in setting) + "\n"


def _settings(records: Iterable[RunRecord], swept: Collection[str] = ()) -> list[list[Cell]]:
    return [list(cells) for _, cells in groupby(summarise(records, swept), key=lambda cell: cell.setting)]


def _grids(cells: list[Cell]) -> list[Grid]:
    """Return the table of scores and, where the deployed models were measured, that of their costs."""
    names = ["strategy", "options"] if any(cell.method.options for cell in cells) else ["strategy"]
    has_balanced = any(cell.balanced for cell in cells)
    numbers = [
        "score",
        *(["bal.\nacc."] if has_balanced else []),
        "seeds",
        "tuned\nweights",
        "tuned\n%",
        "delta\nMB",
        "train\ns",
        "memory\nMB",
    ]
    rows = [[cell.method.strategy, cell.method.details][: len(names)] + _numbers(cell, has_balanced) for cell in cells]
    rows += _one_answer(cells, len(names), len(numbers))
    grids = [Grid(_title(cells), names + numbers, rows, _notes(cells), len(names))]
    if any(cell.deployments for cell in cells):
        grids.append(deployed_grid(cells))
    return grids


def _title(cells: list[Cell]) -> str:
    setting, measured = cells[0].setting, next((cell for cell in cells if cell.metric), None)
    block = setting.block
    data = "full data" if block.shots is None else f"{block.shots} examples a class"
    score = f" · {measured.scale.name} on {measured.split}{measured.scale.remark}" if measured else ""
    return f"{setting.task} · {block.backbone} · {data}{score}"


def _one_answer(cells: list[Cell], names: int, numbers: int) -> list[list[str]]:
    """Return the row of who gives the best of all answers to everything, where the runs know its score."""
    known = [(cell, cell.constant) for cell in cells if cell.constant is not None]
    blank = [""] * (numbers - 1)
    return [[ONE_ANSWER, *[""] * (names - 1), cell.scale.text(score), *blank] for cell, score in known[:1]]


def _numbers(cell: Cell, has_balanced: bool) -> list[str]:
    balanced = mean(cell.balanced.values())
    return [
        _score(cell) + _marks(cell),
        *(["–" if balanced is None else cell.scale.text(balanced)] if has_balanced else []),
        _seeds(cell),
        _number(cell.tuned),
        _number(cell.share, digits=2),
        _number(cell.delta_bytes, digits=2, unit=1e6),
        _number(cell.training_seconds),
        _number(cell.peak_bytes, unit=1e6),
    ]


def _score(cell: Cell) -> str:
    if cell.mean is None:
        return "–"
    return f"{cell.scale.text(cell.mean)} ± {'n/a' if cell.std is None else cell.scale.text(cell.std)}"


def _marks(cell: Cell) -> str:
    marked = {"*": cell.collapsed, "†": cell.doubts, "‡": describe_cuts(cell.finished)}
    return "".join(mark for mark, found in marked.items() if found)


def _seeds(cell: Cell) -> str:
    """Return how many seeds gave a number, and of how many where some should have and did not."""
    if not cell.expected:
        return "skipped"
    return str(cell.expected) if len(cell.scores) == cell.expected else f"{len(cell.scores)} of {cell.expected}"


def _number(value: float | None, digits: int = 0, unit: float = 1) -> str:
    return "–" if value is None else f"{value / unit:,.{digits}f}"


def _notes(cells: list[Cell]) -> list[str]:
    """Return the lines below a table of scores: what its numbers mean, what was cut short, collapsed or skipped."""
    notes = [
        "Score: mean ± sample standard deviation over seeds (n/a: one seed). Tuned: without the classifier."
        " Delta: the saved file. Memory: the peak. MB: a million bytes."
    ]
    if any(cell.constant is not None for cell in cells):
        notes.append(f"{ONE_ANSWER.capitalize()}: the best that the same answer to everything scores.")
    if cuts := describe_cuts(run for cell in cells for run in cell.finished):
        notes.append(f"‡ {cuts}.")
    collapsed = [f"{cell.method.label} with seed {_listed(cell.collapsed)}" for cell in cells if cell.collapsed]
    if collapsed:
        notes.append(f"* collapsed (one answer to everything, or a Matthews of 0): {'; '.join(collapsed)}")
    notes += _doubts(cells)
    if changed := describe_changes(run for cell in cells for run in cell.finished):
        notes.append(changed)
    return notes + [f"{cell.method.label} {reason}" for cell in cells for reason in cell.skip_reasons]


def describe_changes(runs: Iterable[RunRecord]) -> str:
    """Return a line on how many of the runs were made by code that no commit holds; empty where none was."""
    known = list(runs)
    changed = sum(bool(run.dirty) for run in known)
    return f"Code with changes that no commit holds: {changed} of {len(known)} runs." if changed else ""


def _doubts(cells: list[Cell]) -> list[str]:
    """Return a line for each kind of doubt: whose scores, and a sentence, the first where they differ."""
    notes = []
    for kind in sorted({kind for cell in cells for kind in cell.doubts}):
        whose = [(cell, cell.doubts[kind]) for cell in cells if kind in cell.doubts]
        sentences = list(dict.fromkeys(reason for _, found in whose for reason in found.values()))
        runs = "; ".join(f"{cell.method.label} with seed {_listed(found)}" for cell, found in whose)
        everywhere = all(kind in run.doubts for cell in cells for run in cell.finished)
        further = f", and {len(sentences) - 1} like it" if len(sentences) > 1 else ""
        notes.append(f"† {kind}: {sentences[0]}{further}: {'all runs' if everywhere else runs}")
    return notes


def _missing(cells: list[Cell]) -> list[str]:
    return [f"! {cell.method.label}: seed {seed} {reason}" for cell in cells for seed, reason in cell.missing]


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(map(str, seeds))
