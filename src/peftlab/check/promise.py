"""A promise is a function that takes what is checked and raises AssertionError where it is not kept.

Its docstring's first line says what is promised, and its error in a sentence what was found instead.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from peftlab.errors import UserError

T = TypeVar("T")
Verdict = Literal["ok", "broken", "skipped"]


class DoesNotApplyError(Exception):
    """A promise that this one need not keep; its message says why."""


@dataclass(frozen=True)
class Subject(Generic[T]):
    """What is checked, under the name of where: a backbone, say. `make` is called anew for each promise."""

    where: str
    make: Callable[[], T]


@dataclass(frozen=True)
class Finding:
    """How one promise was found, on all subjects; `why` is empty where it is kept."""

    promise: str
    verdict: Verdict
    why: str = ""

    def __str__(self) -> str:
        return f"{self.verdict:<8} {self.promise}{': ' if self.why else ''}{self.why}"


def promised(condition: bool, found: str) -> None:
    """Raise AssertionError unless `condition` holds; `found` is the sentence that says what was found instead."""
    if not condition:
        raise AssertionError(found)


def title(promise: Callable[[T], None]) -> str:
    """Return what is promised, in a line."""
    return str(promise.__doc__).splitlines()[0].rstrip(".")


def find_out(promise: Callable[[T], None], subjects: Sequence[Subject[T]]) -> Finding:
    """Return how a promise is kept: broken where one subject breaks it, skipped where it applies to none."""
    reasons = []
    for subject in subjects:
        try:
            promise(subject.make())
        except DoesNotApplyError as reason:
            reasons.append(str(reason))
        except AssertionError as error:
            return Finding(title(promise), "broken", f"{subject.where}: {_line(error)}")
        except Exception as error:
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            return Finding(title(promise), "broken", f"{subject.where}: {kind}{_line(error)}")
    if len(reasons) == len(subjects):
        return Finding(title(promise), "skipped", "; ".join(dict.fromkeys(reasons)))
    return Finding(title(promise), "ok")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
