"""What forms are made of: rows of a source, which know their columns and where they stand."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any

from peftlab.errors import UserError, prefix_errors
from peftlab.tasks.task import Source

Located = tuple[str, dict[str, Any]]  # where a row stands, and the row
Form = Callable[[Iterable[tuple[str, Mapping[str, Any]]], Source], Iterator[Located]]


class Raw(dict[str, Any]):
    """A row of a source; a column that it does not have is the user's mistake."""

    def __missing__(self, name: str) -> Any:
        raise UserError(f"no column {name!r}; the columns are {', '.join(map(str, self))}")


def by_row(function: Callable[[Raw, Source], Iterable[dict[str, Any]]]) -> Form:
    """Return a form that makes rows of each row by itself."""

    @wraps(function)
    def form(rows: Iterable[tuple[str, Mapping[str, Any]]], source: Source) -> Iterator[Located]:
        for where, row in rows:
            with prefix_errors(f"{where}: "):
                made = list(function(Raw(row), source))
            yield from ((where, example) for example in made)

    return form


def inner(value: Any, what: str) -> Raw:
    """Return a table inside a row.

    Raises:
        UserError: it is none.
    """
    if not isinstance(value, Mapping):
        raise UserError(f"{what}: must be a table of names and values, found {type(value).__name__}")
    return Raw(value)


def several(value: Any, what: str) -> list[Any]:
    """Return a list inside a row.

    Raises:
        UserError: it is none.
    """
    if not isinstance(value, list | tuple):
        raise UserError(f"{what}: must be a list, found {type(value).__name__}")
    return list(value)


def text(value: Any, what: str) -> str:
    """Return a text inside a row.

    Raises:
        UserError: it is none.
    """
    if not isinstance(value, str):
        raise UserError(f"{what}: must be a text, found {type(value).__name__}")
    return value
