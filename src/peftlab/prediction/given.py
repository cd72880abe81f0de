"""What a user gives to be predicted, items of a list or rows of a file, as the kind of the task has its rows."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from datasets import Image, List

from peftlab.errors import UserError, prefix_errors, require, require_several
from peftlab.inputs.image_files import stored
from peftlab.tasks.forms.rows import Located, Raw, several, text
from peftlab.tasks.kind import TaskKind
from peftlab.tasks.sources.examples import examples_of, form_of, spelling
from peftlab.tasks.sources.files import rows_of
from peftlab.tasks.sources.formats import Row
from peftlab.tasks.sources.own import rows_as_read
from peftlab.tasks.sources.release import tsv_rows
from peftlab.tasks.task import FileSource, OwnFiles, Source

_SILENT = ("id", "label", "names")  # columns of a kind that no model reads


@dataclass(frozen=True)
class Given:
    """One example.

    Attributes:
        row: as the kind's `columns` have it.
        labelled: whether its label is the user's.
    """

    row: dict[str, Any]
    labelled: bool


def from_items(kind: TaskKind, items: Iterable[Any]) -> Iterator[Given]:
    """Yield the examples of a list, each a text, a tuple of what the kind reads in its order, or a table by column.

    Raises:
        UserError: an item that is none of these, with its place.
    """
    require_several(items, "examples", f"texts, tuples or tables of {', '.join(inputs_of_kind(kind))}")
    for place, item in enumerate(items):
        yield from from_rows(kind, iter([_named(kind, place, item)]), labelled=True)


def from_file(kind: TaskKind, path: Path, labelled: bool = True) -> Iterator[Given]:
    """Yield the examples of a file, in the form of the task's own files or with the kind's columns.

    Args:
        kind: of the task.
        path: of the file, whose format the end of its name says.
        labelled: False: labels are not read.

    Raises:
        UserError: a file that is missing, malformed, or of another form.
    """
    return from_rows(kind, _rows(kind, path), labelled)


def inputs_of_kind(kind: TaskKind) -> list[str]:
    """Return the columns that a model reads, in the order of a tuple; of texts as many as the task has."""
    names = [name for name in kind.columns if name not in _SILENT]
    described = [len(source.text) for source in kind.task.sources.values() if source.text]
    return names[: max(described)] if kind.form == "texts" and described else names


def from_rows(kind: TaskKind, rows: Iterator[Row], labelled: bool = True) -> Iterator[Given]:
    """Yield the examples of rows, each with its place, as `from_file` does of a file's."""
    first = next(rows, None)
    if first is None:
        return
    source = _source(kind, first)
    formed = form_of(kind, source)(chain([first], rows), source) if source else _own(kind, chain([first], rows))
    for row, known in examples_of(kind, formed, spelling(source) if source else None, labelled):
        yield Given(row, known)


def _named(kind: TaskKind, place: int, item: Any) -> Row:
    names, where = inputs_of_kind(kind), f"example {place}"
    if isinstance(item, Mapping):
        return where, {str(name): value for name, value in item.items()}
    several_values = isinstance(item, tuple) or (isinstance(item, list) and len(names) > 1)
    values = tuple(item) if several_values else (item,)
    require(0 < len(values) <= len(names), f"{where}: {len(values)} values; allowed are {', '.join(names)}")
    return where, dict(zip(names, values, strict=False))


def _source(kind: TaskKind, first: Row) -> Source | None:
    """Return which of the task's sources has rows like the first one; None: it has the kind's own columns.

    Raises:
        UserError: it is like none of these.
    """
    where, row = first
    fitting: list[tuple[bool, Source]] = []
    for source in reversed(kind.task.sources.values()):
        try:
            _, formed = next(iter(form_of(kind, source)([first], source)))
        except UserError as error:
            reason = error
        else:
            fitting.append((formed["label"] is None, source))
    if fitting:  # those that know where a label stands first
        return min(fitting, key=lambda pair: pair[0])[1]
    own = inputs_of_kind(kind)
    if own[0] in row:
        return None
    named = {", ".join(source.text) for source in kind.task.sources.values()} - {""}
    if kind.task.sources and not named:
        raise reason
    allowed = " or ".join([*sorted(named), ", ".join(own)])
    raise UserError(f"{where}: the columns are {', '.join(row)}; task={kind.task.name} reads {allowed}")


def _own(kind: TaskKind, rows: Iterable[Row]) -> Iterator[Located]:
    """Yield rows that have the kind's own columns."""
    inputs, described = inputs_of_kind(kind), any(source.text for source in kind.task.sources.values())
    for where, given in rows:
        row = Raw(given)
        # A task that describes no columns may be one of single texts.
        needed = [name for name in inputs if described or name != "text_b" or row.get(name) is not None]
        with prefix_errors(f"{where}: "):
            found = {name: _value(row[name], name, kind) for name in needed}
            if "id" in kind.columns and row.get("id") is not None:
                found["id"] = str(row["id"])
            if "names" in kind.columns:
                found["names"] = several(row.get("names") or found["choices"], "names")
        yield where, {**found, "label": row.get("label")}


def _value(value: Any, name: str, kind: TaskKind) -> Any:
    if isinstance(kind.columns[name], Image):
        return stored(value, name)
    if isinstance(kind.columns[name], List):
        return [text(part, name) for part in several(value, name)]
    return text(value, name)


def _rows(kind: TaskKind, path: Path) -> Iterator[Row]:
    """Yield a file's rows, each with its place."""
    # Rows of images may name files beside theirs.
    own = kind.task.own or (OwnFiles(["image"]) if isinstance(kind.columns.get("image"), Image) else None)
    if own is not None:
        return rows_as_read(kind, own, path, "test")
    if path.suffix == ".tsv" and path.is_file():
        return _tab_separated(kind.task.files, path)
    return rows_of(path, "test")


def _tab_separated(own: FileSource | None, path: Path) -> Iterator[Row]:
    """Yield the rows of a release's file: with a header, unless the task's files have none; those of test sets do."""
    with path.open("rb") as file:
        names = file.readline().decode("utf-8", errors="replace").rstrip("\r\n").split("\t")
    headless = own is not None and own.header is not None and not set(own.text) <= set(names)
    source = replace(own, text=[]) if own is not None and headless else FileSource(folder="")
    return tsv_rows(source, path)
