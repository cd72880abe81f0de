"""What the runs of one process share, so that a sweep reads its data and its backbone once."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar

T = TypeVar("T")


class RunCache:
    """Keeps the latest few things of each kind in memory; whoever takes one out must not change it.

    A backbone that is kept is an untouched copy beside the one that is tuned, and counts in a run's resident memory.

    Args:
        most: how many of each kind; 0 keeps nothing, so that a single run holds nothing twice.
    """

    def __init__(self, most: int = 0) -> None:
        self.most = most
        self._shelves: dict[str, dict[Hashable, Any]] = {}

    def get(self, kind: str, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is kept under `key`, or what `make` makes."""
        shelf = self._shelves.setdefault(kind, {})
        value: T = shelf.pop(key) if key in shelf else make()
        if self.most:
            shelf[key] = value  # as the latest
            for oldest in list(shelf)[: -self.most]:
                del shelf[oldest]
        return value
