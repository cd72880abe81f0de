"""The one error that speaks to the person who made the mistake."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """A mistake in options, data or files; its message is one line: what, where, which values are allowed."""


class BusyError(UserError):
    """Another process is at work where this one was to begin."""


class SkippedError(Exception):
    """A method does not fit a backbone or a kind of task: the run is skipped, which is no failure."""


class MissingPackageError(UserError):
    """What was asked for needs a package that this environment does not have; says what to install."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean a, b?)"`` for the known words nearest to `word`, or an empty string."""
    found = difflib.get_close_matches(word, list(known), n=3, cutoff=0.5)
    return f" (did you mean {', '.join(found)}?)" if found else ""


def require(condition: bool, message: str) -> None:
    """Raise `UserError(message)` unless `condition` holds."""
    if not condition:
        raise UserError(message)


@contextmanager
def prefix_errors(prefix: str) -> Iterator[None]:
    """Put `prefix` before the message of any `UserError` raised inside."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{prefix}{error}") from error
