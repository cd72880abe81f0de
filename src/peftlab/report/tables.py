"""The paper's Tables 1-3 as data: what stands in each row and column, apart from how it is written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from peftlab.report.study import Study
from peftlab.results.aggregate import BALANCED, Block, Cell, Method, deviation, mean, task_name
from peftlab.results.scores import METRIC_NAMES, PERCENT, Scale, common_scale
from peftlab.results.table import ONE_ANSWER, describe_changes

Mark = Literal["", "best", "second"]
# A task, a further metric of its runs (None: the primary one), and the name over the column.
Column = tuple[str, str | None, str]


@dataclass
class Entry:
    """A mean score with its standard deviation and number of seeds, on `scale`; or plain `text`.

    `mark` is the rank in its column by what is printed, ties included; `collapsed` counts runs.
    """

    mean: float | None = None
    std: float | None = None
    seeds: int = 0
    collapsed: int = 0
    mark: Mark = ""
    text: str = ""
    scale: Scale = PERCENT

    @property
    def printed(self) -> tuple[str, str]:
        """Mean and standard deviation as text; empty where there is none."""
        mean, std = ("" if number is None else self.scale.text(number) for number in (self.mean, self.std))
        return mean, std


@dataclass
class Table:
    """One table: `header` names the columns (second line: the metric), rows start with their name."""

    name: str
    title: str
    header: list[tuple[str, str]]
    rows: list[tuple[str, list[Entry]]]
    notes: list[str]


def deployment(study: Study) -> list[Table]:
    """Return Table 1 for each block whose records say what their tuned model costs where it is deployed."""
    tables = []
    for block in study.blocks:
        rows = [(method.label, entries) for method in study.methods if (entries := _deployed(study, block, method))]
        header = [("Extra param.", ""), ("Structure changed", ""), ("Delay (ratio)", ""), ("Bytes per task", "")]
        notes = [
            "Extra parameters and structure after merging, where the method merges; delay: time of a forward pass over"
            " the bare backbone's, median with its 95 % interval by the order of the pairs alone, which covers it"
            " whatever their distribution; bytes: the saved delta, the classifier included."
        ]
        if rows:
            tables.append(Table("table1", f"Deployed · {block.title}", header, rows, notes))
    return tables


def performance(study: Study) -> list[Table]:
    """Return Table 2 for each block: methods in rows, tasks in columns, mean ± std over seeds.

    Where runs say it, another has balanced accuracy, which a constant answer does not meet.
    """
    tables = []
    for block in study.blocks:
        cells = study.of(block)
        if any(cell.scores for cell in cells):
            methods = _methods(study, block)
            tables.append(_scores(study, block, methods, cells, ("table2", f"Performance · {block.title}")))
            tables += _balanced(study, block, methods)
    return tables


def ablation(study: Study) -> list[Table]:
    """Return Table 3 for each strategy of which a block holds several variants that differ in a word.

    Options that are numbers make curves, not tables.
    """
    tables = []
    for block in study.blocks:
        methods = _methods(study, block)
        for strategy in dict.fromkeys(method.strategy for method in methods):
            variants = [method for method in methods if method.strategy == strategy]
            if len(variants) > 1 and any(_word(value) for method in variants for _, value in method.options):
                of_strategy = [cell for cell in study.of(block) if cell.method.strategy == strategy]
                title = f"Ablation of {strategy} · {block.title}"
                tables.append(_scores(study, block, variants, of_strategy, ("table3", title)))
    return tables


def _scores(study: Study, block: Block, methods: list[Method], noted: list[Cell], names: tuple[str, str]) -> Table:
    """Return the table, by its file's name and its title, of these methods; its notes are of the cells `noted`."""
    cells = {(cell.method, cell.setting.task): cell for cell in study.of(block)}
    columns = [column for task in study.tasks(block) for column in _columns(task, study.of(block))]
    rows = _ranked(methods, cells, columns)
    rows += _one_answer(columns, study.of(block))
    return Table(*names, [*_header(columns, cells), ("Avg.", "")], rows, _notes(noted))


def _balanced(study: Study, block: Block, methods: list[Method]) -> list[Table]:
    """Return the table of balanced accuracy on the tasks whose runs have it; none where no run has."""
    cells = {(cell.method, cell.setting.task): cell for cell in study.of(block)}
    splits = {cell.setting.task: cell.split for cell in study.of(block) if cell.balanced}
    columns = [(task, f"{splits[task]}/{BALANCED}", task_name(task)) for task in study.tasks(block) if task in splits]
    header = [*((name, METRIC_NAMES[BALANCED]) for _, _, name in columns), ("Avg.", "")]
    note = "The mean over labels of the share that was found of each, × 100: one answer to everything has 100 / labels."
    rows = _ranked(methods, cells, columns)
    return [Table("table2", f"Balanced accuracy · {block.title}", header, rows, [note])] if columns else []


def _ranked(
    methods: list[Method], cells: dict[tuple[Method, str], Cell], columns: Sequence[Column]
) -> list[tuple[str, list[Entry]]]:
    """Return a row for each method, its average last; the best of each column is marked."""
    rows = []
    for method in methods:
        entries = [_entry(cells.get((method, task)), key) for task, key, _ in columns]
        rows.append((method.label, [*entries, _average(entries)]))
    for column in range(len(columns) + 1):
        _mark([entries[column] for _, entries in rows])
    return rows


def _one_answer(columns: Iterable[Column], cells: Iterable[Cell]) -> list[tuple[str, list[Entry]]]:
    """Return the row of who gives the best of all answers to everything; none where no run knows its score."""
    known = {cell.setting.task: cell for cell in cells if cell.constant is not None}
    of = [known.get(task) if key is None else None for task, key, _ in columns]
    entries = [Entry(text="–") if cell is None else Entry(text=cell.scale.text(cell.constant or 0.0)) for cell in of]
    return [(ONE_ANSWER, [*entries, Entry()])] if known else []


def _notes(cells: list[Cell]) -> list[str]:
    scales = {cell.scale for cell in cells if cell.scores}
    units = {scale.unit for scale in scales}
    factor = ", × 100," if units <= {"%"} else ", × 100 for shares," if "%" in units else ""
    splits = sorted({cell.split for cell in cells})
    note = f"Mean ± sample standard deviation over seeds{factor} on {' and '.join(splits)}. * a run collapsed."
    note += " Avg.: over all columns, for methods that have them all."
    if any(scale.lower_is_better for scale in scales):
        note += " ↓: lower is better."
    changed = describe_changes(run for cell in cells for run in cell.finished)
    notes = [note, *([changed] if changed else [])]
    return [*notes, *(f"{_named(cell)} {reason}." for cell in cells for reason in cell.skip_reasons)]


def _named(cell: Cell) -> str:
    return f"{cell.method.label} on {task_name(cell.setting.task)}"


def _columns(task: str, cells: Iterable[Cell]) -> list[Column]:
    """Return (task, further metric or None for the primary one, header): MNLI's mismatched set has its own column."""
    found = [(task, None, task_name(task))]
    further = sorted({
        key
        for cell in cells
        if cell.setting.task == task
        for run in cell.finished
        if run.metric
        for key in run.metric.further
        if key.startswith(f"{cell.split}_") and key.endswith(f"/{run.metric.name}")
    })  # fmt: skip
    return found + [(task, key, f"{task_name(task)} {key.split('/')[0].split('_', 1)[1]}") for key in further]


def _header(columns: list[Column], cells: dict[tuple[Method, str], Cell]) -> list[tuple[str, str]]:
    """Return the name of each column and that of its metric."""
    scales = {task: cell.scale for (_, task), cell in reversed(cells.items()) if cell.metric}
    return [(header, scales[task].heading if task in scales else "") for task, _, header in columns]


def _entry(cell: Cell | None, key: str | None) -> Entry:
    if cell is None:
        return Entry(text="not run")
    scores = cell.scores if key is None else cell.further(key)
    if not scores:
        return Entry(text=" and ".join(sorted({run.status for run in cell.runs if run.status != "finished"})) or "–")
    values = scores.values()
    return Entry(mean(values), deviation(values), len(values), len(cell.collapsed), scale=cell.scale)


def _average(entries: list[Entry]) -> Entry:
    """Return the mean of a row's means; an empty entry where one is missing or their scales cannot be averaged."""
    known = [entry.mean for entry in entries if entry.mean is not None]
    scale = common_scale(entry.scale for entry in entries)
    return Entry(mean(known), scale=scale) if scale and 1 < len(entries) == len(known) else Entry()


def _mark(column: list[Entry]) -> None:
    """Mark the best and the second best by what is printed."""
    scored = [(entry, float(entry.printed[0])) for entry in column if entry.mean is not None]
    if len(column) < 2 or not scored:
        return
    ranked = sorted({score for _, score in scored}, key=scored[0][0].scale.order)
    marks: dict[float, Mark] = dict(zip(ranked, ("best", "second"), strict=False))
    for entry, score in scored:
        entry.mark = marks.get(score, "")


def _deployed(study: Study, block: Block, method: Method) -> list[Entry]:
    runs = [run for cell in study.of(block) if cell.method == method for run in cell.finished]
    measured: list[tuple[Any, int | None]] = [
        (part, run.delta.bytes if run.delta else None)
        for run in runs
        if (part := getattr(run, "deployment", None)) is not None
    ]
    if not measured:
        return []
    part, stored = measured[0]
    delay = part.delay
    texts = [
        f"{part.extra_parameters:,}",
        "yes" if part.structure_changed else "no",
        "–" if delay is None else f"{delay.ratio:.3f} [{delay.low:.3f}, {delay.high:.3f}]",
        "–" if stored is None else f"{stored:,}",
    ]
    return [Entry(text=text) for text in texts]


def _methods(study: Study, block: Block) -> list[Method]:
    """Return the methods of a block that have a score: those with all tasks first, the best average first.

    Where the scales of the tasks cannot be averaged, methods follow by name.
    """
    means: dict[Method, list[float]] = {}
    for cell in study.of(block):
        if cell.mean is not None:
            means.setdefault(cell.method, []).append(cell.mean)
    scale = common_scale(cell.scale for cell in study.of(block) if cell.scores)

    def order(method: Method) -> tuple[int, tuple[bool, float], str]:
        average = scale.order(mean(means[method])) if scale else (False, 0.0)
        return -len(means[method]), average, method.label

    return sorted(means, key=order)


def _word(value: str) -> bool:
    """Whether an option's value is a word: no number, nor true, false or null."""
    try:
        float(value)
    except ValueError:
        return value not in ("true", "false", "null")
    return False
