"""The largest share of very many values, exactly and without sorting them."""

import math
from collections.abc import Collection, Mapping

import torch
from torch import Tensor

_HALF = 16  # bits


def largest_share(values: Mapping[str, Tensor], share: float) -> tuple[dict[str, Tensor], float]:
    """Return masks of the entries in the largest `share` of all values together, and the smallest value kept.

    An entry is kept when it is not below the (1 - share) percentile, interpolated linearly as NumPy does; ties with
    the smallest value kept are kept too.

    Args:
        values: float32, not negative; any sizes (`torch.quantile` refuses more than 2^24 entries).
        share: in (0, 1].
    """
    count = sum(value.numel() for value in values.values())
    smallest = ascending(values.values(), math.ceil((1 - share) * (count - 1)))
    return {name: value >= smallest for name, value in values.items()}, smallest


def above_all_but(values: Collection[Tensor], count: int) -> float:
    """Return the smallest value that at most `count` of all values exceed: 0 <= count < entries.

    Entries above it are the `count` largest; where the last of those is tied with the next, none of the tied is among
    them, and they are fewer.
    """
    return ascending(values, sum(value.numel() for value in values) - count - 1)


def ascending(values: Collection[Tensor], index: int) -> float:
    """Return the value at `index`, from 0, of all values in ascending order.

    Floats that are not negative are ordered as their bits are: counting the upper half of the bits finds the bucket
    of the value, counting the lower half inside the bucket finds the value.
    """
    bits = [value.contiguous().view(torch.int32).flatten() for value in values]
    upper, index = _bucket([part >> _HALF for part in bits], index)
    lower, _ = _bucket([part[part >> _HALF == upper] & (2**_HALF - 1) for part in bits], index)
    return torch.tensor(upper << _HALF | lower, dtype=torch.int32).view(torch.float32).item()


def _bucket(parts: list[Tensor], index: int) -> tuple[int, int]:
    """Return the number at `index` among all parts in ascending order, and how many of its like come before it."""
    counts = sum(torch.bincount(part, minlength=2**_HALF).cpu() for part in parts)
    assert isinstance(counts, Tensor)
    up_to = counts.cumsum(0)
    number = int(torch.searchsorted(up_to, index, right=True))
    return number, index - int(up_to[number] - counts[number])
