"""From a source's rows to the columns of a kind, each row checked where it stands."""

from collections.abc import Iterable, Mapping
from typing import Any

from peftlab.errors import nearest, prefix_errors, require
from peftlab.tasks.forms import FORMS
from peftlab.tasks.kind import TaskKind
from peftlab.tasks.task import FileSource, Source

Columns = dict[str, list[Any]]


def columns_of(kind: TaskKind, source: Source, rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Columns:
    """Return the columns that a kind names, in the order of the rows; no column where there is no row.

    Args:
        kind: knows its task's labels, and what a row of it is.
        source: says in which form the rows are.
        rows: each with where it stands.

    Raises:
        UserError: a row that is no example of the kind, with its place, or a form that there is not.
    """
    name = source.form or kind.form
    require(name in FORMS, f"task={kind.task.name}: form={name}{nearest(name, FORMS)}; allowed are {', '.join(FORMS)}")
    spelt = source.labels if isinstance(source, FileSource) else None
    columns: Columns = {}
    for where, row in FORMS[name](rows, source):
        with prefix_errors(f"{where}: "):
            row["label"] = kind.label(row["label"], spelt)
            kind.check_row(row)
            require(not columns or columns.keys() == row.keys(), "columns that the rows before it do not have")
        for column, value in row.items():
            columns.setdefault(column, []).append(value)
    return columns
