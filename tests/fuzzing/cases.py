"""A case of the fuzzers: it goes well or is told in one line, within seconds; everything else is a finding."""

import random
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Literal

from peftlab.errors import LONGEST_MESSAGE, SkippedError, UserError

SECONDS = 30
Ending = Literal["fine", "told", "traceback", "hung", "told badly"]
GOOD: tuple[Ending, ...] = ("fine", "told")


@dataclass(frozen=True)
class Case:
    """One case, which its piece, seed and number make again."""

    name: str
    act: Callable[[], None]


@dataclass(frozen=True)
class Result:
    """How a case ended; `message` is what was told, or the trace."""

    name: str
    ending: Ending
    message: str


def draw_of(piece: str, seed: int, number: int) -> random.Random:
    """Return the random numbers of one case alone."""
    return random.Random(f"{piece} {seed} {number}")


def attempt(case: Case) -> Result:
    """Do a case and return how it ended."""
    try:
        with _limit(SECONDS):
            case.act()
    except (UserError, SkippedError) as error:
        said = str(error)
        safe = said.isprintable() and 0 < len(said) <= LONGEST_MESSAGE
        return Result(case.name, "told" if safe else "told badly", said[:1000])
    except TimeoutError:
        return Result(case.name, "hung", traceback.format_exc(limit=-6))
    except (Exception, MemoryError):
        return Result(case.name, "traceback", traceback.format_exc(limit=-6))
    return Result(case.name, "fine", "")


@contextmanager
def _limit(seconds: int) -> Iterator[None]:
    def end(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {seconds} seconds")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
