"""The paper's Tables 1-3 as data: what stands in each row and column, apart from how it is written."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from peftlab.report.study import Block, Cell, Method, Study, task_name

METRIC_NAMES = {"accuracy": "Acc.", "f1": "F1", "matthews": "Matt.", "spearman": "Spea.", "pearson": "Pear."}
Mark = Literal["", "best", "second"]


@dataclass
class Entry:
    """A mean with its standard deviation and number of seeds, in percent; or plain `text`.

    `mark` is the rank in its column by what is printed, ties included; `collapsed` counts runs.
    """

    mean: float | None = None
    std: float | None = None
    seeds: int = 0
    collapsed: int = 0
    mark: Mark = ""
    text: str = ""


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
            " the bare backbone's, median with its 95 % interval; bytes: the saved delta, the classifier included."
        ]
        if rows:
            tables.append(Table("table1", f"Deployed · {block.title}", header, rows, notes))
    return tables


def performance(study: Study) -> list[Table]:
    """Return Table 2 for each block: methods in rows, tasks in columns, mean ± std over seeds."""
    return [
        _scores(study, block, _methods(study, block), "table2", f"Performance · {block.title}")
        for block in study.blocks
        if any(cell.scores for cell in study.of(block))
    ]


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
                title = f"Ablation of {strategy} · {block.title}"
                tables.append(_scores(study, block, variants, "table3", title))
    return tables


def _scores(study: Study, block: Block, methods: list[Method], name: str, title: str) -> Table:
    cells = {(cell.method, cell.setting.task): cell for cell in study.of(block)}
    columns = [column for task in study.tasks(block) for column in _columns(task, study.of(block))]
    rows = []
    for method in methods:
        entries = [_entry(cells.get((method, task)), key) for task, key, _ in columns]
        rows.append((method.label, [*entries, Entry(mean=_average([entry.mean for entry in entries]))]))
    for column in range(len(columns) + 1):
        _mark([entries[column] for _, entries in rows])
    splits = sorted({cell.split for cell in cells.values()})
    notes = [
        f"Mean ± sample standard deviation over seeds, × 100, on {' and '.join(splits)}. † a run collapsed."
        " Avg.: over all columns, for methods that have them all."
    ]
    header = [(header, METRIC_NAMES.get(metric, metric)) for _, header, metric in _headers(columns, cells)]
    return Table(name, title, [*header, ("Avg.", "")], rows, notes)


def _columns(task: str, cells: Iterable[Cell]) -> list[tuple[str, str | None, str]]:
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


def _headers(
    columns: list[tuple[str, str | None, str]], cells: dict[tuple[Method, str], Cell]
) -> Iterable[tuple[str, str, str]]:
    for task, _, header in columns:
        metric = next((cell.metric for (_, of), cell in cells.items() if of == task and cell.metric), "")
        yield task, header, metric or ""


def _entry(cell: Cell | None, key: str | None) -> Entry:
    if cell is None:
        return Entry(text="not run")
    scores = cell.scores if key is None else cell.further(key)
    if not scores:
        return Entry(text=" and ".join(sorted({run.status for run in cell.runs if run.status != "finished"})) or "–")
    values = list(scores.values())
    std = statistics.stdev(values) if len(values) > 1 else None
    return Entry(statistics.fmean(values), std, len(values), len(cell.collapsed))


def _average(means: list[float | None]) -> float | None:
    known = [mean for mean in means if mean is not None]
    return statistics.fmean(known) if 1 < len(means) == len(known) else None


def _mark(column: list[Entry]) -> None:
    """Mark the best and the second best by what is printed: one decimal."""
    ranked = sorted({round(entry.mean, 1) for entry in column if entry.mean is not None}, reverse=True)
    marks: dict[float, Mark] = dict(zip(ranked, ("best", "second"), strict=False))
    for entry in column:
        if entry.mean is not None and len(column) > 1:
            entry.mark = marks.get(round(entry.mean, 1), "")


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
    """Return the methods of a block that have a score: those with all tasks first, the best average first."""
    means: dict[Method, list[float]] = {}
    for cell in study.of(block):
        if cell.mean is not None:
            means.setdefault(cell.method, []).append(cell.mean)
    return sorted(means, key=lambda method: (-len(means[method]), -statistics.fmean(means[method]), method.label))


def _word(value: str) -> bool:
    """Whether an option's value is a word: no number, nor true, false or null."""
    try:
        float(value)
    except ValueError:
        return value not in ("true", "false", "null")
    return False
