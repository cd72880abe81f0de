"""What is chosen as one: a query head, or all query heads that share a key and value head."""

from collections.abc import Iterable
from typing import Literal

from torch import Tensor

Unit = Literal["query", "group"]


def unit_size(unit: Unit, group: int) -> int:
    """Return how many query heads a unit has; `group` of them share a key and value head."""
    return group if unit == "group" else 1


def by_unit(values: Tensor, size: int) -> Tensor:
    """Return the mean of each unit's query heads: [..., H] to [..., H / size]."""
    return values.unflatten(-1, (-1, size)).mean(-1)


def query_heads(units: Iterable[int], size: int) -> tuple[int, ...]:
    """Return the query heads of some units, ascending."""
    return tuple(sorted(unit * size + member for unit in units for member in range(size)))
