"""The one error that speaks to the person who made the mistake."""

import difflib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

LONGEST_MESSAGE = 600  # characters; lists of what is allowed are the longest that any message needs

_LONGEST_WORD = 100


def shown(value: object, most: int = LONGEST_MESSAGE) -> str:
    """Return text that a terminal, a log or a page can show, whatever file or option it came from.

    It is one line: control characters, line separators, marks that reorder text and lone surrogates are escaped as in
    ``\\x1b``. Of more than `most` characters the middle is left out, since a message begins with the place and ends
    with what is allowed. What has been shown once stays as it is.
    """
    text = str(value)
    if len(text) > most:  # before escaping: a text of a gigabyte is not copied
        text = _shortened(text, most)
    return _shortened(escaped(text), most)


def escaped(text: str) -> str:
    """Return a text of any length in one line, escaped as in `shown`."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _shortened(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 1]}…{text[-end:]}"


class _ShownError(Exception):
    """An error whose message is shown to a person as it is; whatever is in it is shown safely."""

    def __init__(self, message: object = "") -> None:
        super().__init__(shown(message))


class UserError(_ShownError):
    """A mistake in options, data or files; its message is one line: what, where, which values are allowed."""


class BusyError(UserError):
    """Another process is at work where this one was to begin."""


class SkippedError(_ShownError):
    """A method does not fit a backbone or a kind of task: the run is skipped, which is no failure."""


class MissingPackageError(UserError):
    """What was asked for needs a package that this environment does not have; says what to install."""


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``" (did you mean a, b?)"`` for the known words nearest to `word`, or an empty string."""
    # Comparing takes time that grows with the square of the length, and no known word is that long.
    found = difflib.get_close_matches(word[:_LONGEST_WORD], list(known), n=3, cutoff=0.5)
    return f" (did you mean {', '.join(found)}?)" if found else ""


def require(condition: bool, message: str) -> None:
    """Raise `UserError(message)` unless `condition` holds."""
    if not condition:
        raise UserError(message)


def require_several(given: object, what: str, allowed: str) -> None:
    """Refuse one text or table where several belong: it would be read letter by letter, or by its columns' names."""
    lone = isinstance(given, str | bytes | Mapping) or hasattr(given, "iterrows")  # pandas'
    require(not lone, f"{what}: one {type(given).__name__}; allowed is a list of {allowed}")


@contextmanager
def prefix_errors(prefix: str) -> Iterator[None]:
    """Put `prefix` before the message of any `UserError` raised inside."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{prefix}{error}") from error
