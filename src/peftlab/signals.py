"""Ctrl-C and SIGTERM end a command alike: a run that trains writes its checkpoint first, and no trace is shown.

So does SIGUSR2, by which Slurm warns of its time limit where it is asked to (``--signal=USR2@120``).
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)


class Signals:
    """Lets SIGTERM and SIGUSR2 end a command as Ctrl-C does, by KeyboardInterrupt; `last` is the latest's number."""

    def __init__(self) -> None:
        self.last = signal.SIGINT
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, self._end)

    def _end(self, number: int, frame: FrameType | None) -> None:
        self.last = signal.Signals(number)
        raise KeyboardInterrupt


@contextmanager
def held_back() -> Iterator[None]:
    """Let a signal wait until what is done inside is done: half an import breaks in ways of its own."""
    waiting: list[int] = []
    handlers: dict[int, Any] = {}
    try:
        for one in ENDING:
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
