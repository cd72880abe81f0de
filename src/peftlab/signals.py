"""Ctrl-C and SIGTERM end a command alike: a run that trains writes its checkpoint first, and no trace is shown."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_BOTH = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """Lets SIGTERM end a command as Ctrl-C does, by KeyboardInterrupt; `last` is the latest signal's number."""

    def __init__(self) -> None:
        self.last = signal.SIGINT
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.last = signal.Signals(number)
        raise KeyboardInterrupt


@contextmanager
def held_back() -> Iterator[None]:
    """Let a signal wait until what is done inside is done: half an import breaks in ways of its own."""
    waiting: list[int] = []
    handlers: dict[int, Any] = {}
    try:
        for one in _BOTH:
            handlers[one] = signal.signal(one, lambda number, frame: waiting.append(number))
    except ValueError:  # not in the main thread, which alone is interrupted
        pass
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(waiting[0])
