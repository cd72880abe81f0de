"""The command that was typed, wherever its runs are done: a launcher may carry them to processes of their own."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_typed: ContextVar[tuple[str, ...] | None] = ContextVar("typed", default=None)


def typed_command() -> list[str]:
    """Return the words of the command that asked for what is done here: this process's own, unless it works for one."""
    return list(_typed.get() or (Path(sys.argv[0]).name, *sys.argv[1:]))


@contextmanager
def working_for(command: Sequence[str]) -> Iterator[None]:
    """Let `typed_command` return `command` inside."""
    token = _typed.set(tuple(command))
    try:
        yield
    finally:
        _typed.reset(token)
