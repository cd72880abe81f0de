"""What a run says while it works: lines in the terminal and in its train.log, bars in the terminal alone.

Any module says a line by `logging`; `hydra.job_logging` in `conf/config.yaml` brings it to `Terminal` and to the file.
"""

import logging
import multiprocessing
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, TypeVar

from peftlab.errors import escaped
from peftlab.redaction import redact

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")

# As in `log.info(..., extra=DETAIL)`: a line that a single run shows, and that a sweep leaves to each run's train.log.
DETAIL = {"is_detail": True}
# A line that has been printed already, for the file alone.
PRINTED = {"is_printed": True}
OURS = "peftlab"
# How `warnings` writes what it is told: where it was said, and what kind of warning it is.
_WARNING = re.compile(r"\S+:\d+: (?:\w+: )?")
_traces = logging.Formatter()
_bars: ContextVar[bool] = ContextVar("bars", default=True)


class Terminal(logging.Handler):
    """Prints what is logged as a user reads it: lines as they are, and what went wrong by its name, on stderr.

    What other libraries say that is no warning is left to the file.

    Args:
        run: the run's number in its sweep, counted from 0, which begins each line on stdout; None for a single run.
    """

    def __init__(self, run: int | None = None) -> None:
        super().__init__()
        self._run = run

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        is_told = record.levelno < logging.WARNING
        if is_told and not self._shows(record):
            return
        # Looked up now: a bar that is shown takes the lines and puts them above itself.
        stream = sys.stdout if is_told else sys.stderr
        try:
            print(self._line(record), file=stream, flush=True)
        except OSError:
            self.handleError(record)

    def _shows(self, record: logging.LogRecord) -> bool:
        is_left_to_file = hasattr(record, "is_printed") or (self._run is not None and hasattr(record, "is_detail"))
        return record.name.startswith(OURS) and _speaks() and not is_left_to_file

    def _line(self, record: logging.LogRecord) -> str:
        said = redact(record.getMessage())
        if record.name == "py.warnings":
            said = _WARNING.sub("", said.strip().splitlines()[0], count=1)
        trace = f"\n{_traces.formatException(record.exc_info)}" if record.exc_info else ""
        if record.levelno >= logging.WARNING:
            return f"{record.levelname.lower()}: {escaped(said)}{trace}"
        return f"{'' if self._run is None else f'[{self._run + 1}] '}{escaped(said)}"


def bars_are_shown() -> bool:
    """Return whether bars are wanted and there is a terminal to show them in, which no other process writes to."""
    alone = multiprocessing.parent_process() is None and _speaks()
    return _bars.get() and alone and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def show_bars(wanted: bool) -> Iterator[None]:
    """Say whether bars are wanted inside (`trainer.enable_progress_bar`)."""
    token = _bars.set(wanted)
    try:
        yield
    finally:
        _bars.reset(token)


def new_bars() -> "Progress":
    """Return bars that vanish when they stop: what is worth keeping is said in a line. They are not started yet."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    about, note = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
    columns = (about, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note)
    return Progress(*columns, transient=True, disable=not bars_are_shown())


def track(items: Iterable[T], about: str, total: int) -> Iterator[T]:
    """Yield the items under a bar that says how many of `total` are done."""
    with new_bars() as bars:
        task = bars.add_task(about, total=total, note="")
        for item in items:
            yield item
            bars.advance(task)


@contextmanager
def working(about: str) -> Iterator[None]:
    """Show that something is being done that cannot say how far it is."""
    if not bars_are_shown():
        yield
        return
    from rich.console import Console

    with Console().status(about):
        yield


def _speaks() -> bool:
    """Return whether this is the process of a distributed run that speaks: the first."""
    return os.environ.get("LOCAL_RANK", "0") == "0"
