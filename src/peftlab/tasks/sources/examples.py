"""From a source's rows to the columns of a kind, each row checked where it stands."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from peftlab.errors import UserError, nearest, prefix_errors, require
from peftlab.tasks.forms import FORMS
from peftlab.tasks.forms.rows import Form, Located
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
    spelt = spelling(source)
    columns: Columns = {}
    given: list[str] = []
    for where, row in form_of(kind, source)(_noting(rows, given), source):
        with prefix_errors(f"{where}: "):
            known = f"no column {source.label!r}; the columns are {', '.join(given)}"
            require(row["label"] is not None, f"no label in {source.label!r}" if source.label in given else known)
            row["label"] = kind.label(row["label"], spelt)
            kind.check_row(row)
            require(not columns or columns.keys() == row.keys(), "columns that the rows before it do not have")
        for column, value in row.items():
            columns.setdefault(column, []).append(value)
    return columns


def examples_of(
    kind: TaskKind, rows: Iterable[Located], spelt: list[str] | None = None, labelled: bool = True
) -> Iterator[tuple[dict[str, Any], bool]]:
    """Yield rows with their labels, and whether they have one of their own: where not, `kind.stand_in` gives it.

    Where `kind.hides` a label, as test sets hide theirs, there is none.

    Args:
        kind: knows its task's labels, and what a row of it is.
        rows: of a form, each with where it stands.
        spelt: how labels may be written besides the task's own way, in their order.
        labelled: False: no label is read.

    Raises:
        UserError: a row that is no example of the kind, with its place.
    """
    for where, row in rows:
        with prefix_errors(f"{where}: "):
            known = labelled and not kind.hides(row["label"])
            label = _label(kind, row["label"], spelt) if known else kind.stand_in(row)
            kind.check_row({**row, "label": label})
        yield {**row, "label": label}, known


def form_of(kind: TaskKind, source: Source) -> Form:
    """Return what makes a kind's rows of a source's."""
    name = source.form or kind.form
    if name not in FORMS:  # what else is near takes long to find, and this is asked of each example
        hint, allowed = nearest(name, FORMS), ", ".join(FORMS)
        raise UserError(f"task={kind.task.name}: form={name}{hint}; allowed are {allowed}")
    return FORMS[name]


def spelling(source: Source) -> list[str] | None:
    """Return how a source writes the task's labels, in their order, where that differs."""
    return source.labels if isinstance(source, FileSource) else None


def _noting(rows: Iterable[tuple[str, Mapping[str, Any]]], names: list[str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the rows; `names` are the columns of the latest."""
    for where, row in rows:
        names[:] = row
        yield where, row


def _label(kind: TaskKind, value: Any, spelt: list[str] | None) -> Any:
    own = spelt is None or (isinstance(value, str) and value in kind.task.labels and value not in spelt)
    return kind.label(value, None if own else spelt)
