"""Tables as Markdown, LaTeX (booktabs) and CSV: nothing in them is taken from data unescaped."""

import csv
import io
from collections.abc import Iterable, Sequence

from peftlab.report.tables import Entry, Table

LATEX_SPECIAL = str.maketrans({
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "·": r"$\cdot$", "±": r"$\pm$", "–": "--", "†": r"$\dagger$",
    "↓": r"$\downarrow$",
    "×": r"$\times$", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
})  # fmt: skip
MARKDOWN_SPECIAL = str.maketrans({symbol: f"\\{symbol}" for symbol in "\\`*_[]<>|"})


def markdown(tables: Iterable[Table]) -> str:
    """Return the tables in GitHub's Markdown; best in bold, second best in italics."""
    return "\n\n".join(_markdown(table) for table in tables) + "\n"


def latex(tables: Iterable[Table]) -> str:
    r"""Return the tables for LaTeX: ``\usepackage{booktabs}``; best in bold, second best underlined."""
    return "\n".join(_latex(table) for table in tables)


def csv_of(tables: Sequence[Table]) -> str:
    """Return the tables as one CSV, a row a number: table, row, column, metric, mean, std, seeds, collapsed, text."""
    header = ("table", "row", "column", "metric", "mean", "std", "seeds", "collapsed", "text")
    rows = [
        (table.title, name, column, metric, e.mean, e.std, e.seeds, e.collapsed, e.text)
        for table in tables
        for name, entries in table.rows
        for (column, metric), e in zip(table.header, entries, strict=True)
    ]
    return csv_text([header, *rows])


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV. Text that a spreadsheet would run as a formula gets an apostrophe before it."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in rows:
        writer.writerow(["" if value is None else _harmless(value) for value in row])
    return buffer.getvalue()


def _harmless(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def _markdown(table: Table) -> str:
    head = ["method", *(f"{name} ({metric})" if metric else name for name, metric in table.header)]
    lines = [f"**{_md(table.title)}**", "", f"| {' | '.join(map(_md, head))} |"]
    lines.append(f"|---|{'---:|' * len(table.header)}")
    for name, entries in table.rows:
        lines.append(f"| {_md(name)} | {' | '.join(map(_markdown_entry, entries))} |")
    return "\n".join([*lines, "", *(_md(note) for note in table.notes)])


def _markdown_entry(entry: Entry) -> str:
    if entry.mean is None:
        return _md(entry.text or "–")
    mean, std = entry.printed
    marked = {"best": "**{}**", "second": "*{}*", "": "{}"}[entry.mark].format(mean)
    return f"{marked}{f' ± {std}' if std else ''}{_md('*') if entry.collapsed else ''}"


def _md(text: str) -> str:
    return " ".join(text.translate(MARKDOWN_SPECIAL).split())


def _latex(table: Table) -> str:
    names = " & ".join(["Method", *(_tex(name) for name, _ in table.header)])
    metrics = " & ".join(["", *(f"({_tex(metric)})" if metric else "" for _, metric in table.header)])
    rows = [" & ".join([_tex(name), *map(_latex_entry, entries)]) + r" \\" for name, entries in table.rows]
    return "\n".join([
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'c' * len(table.header)}}}",
        r"\toprule",
        rf"{names} \\",
        *([rf"{metrics} \\"] if any(metric for _, metric in table.header) else []),
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{_tex(table.title)}. {' '.join(_tex(note) for note in table.notes)}}}",
        r"\end{table}",
        "",
    ])  # fmt: skip


def _latex_entry(entry: Entry) -> str:
    if entry.mean is None:
        return _tex(entry.text or "–")
    mean, std = entry.printed
    marked = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}[entry.mark].format(mean)
    return marked + (rf"$_{{\pm {std}}}$" if std else "") + ("$^{*}$" if entry.collapsed else "")


def _tex(text: str) -> str:
    return " ".join(text.translate(LATEX_SPECIAL).split())
