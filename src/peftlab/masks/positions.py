"""Positions of the few weights that are kept, in hardly more bits than they hold (Elias, 1974; Fano, 1971).

Naming k of N positions takes log2 C(N, k) bits, 9.08 for each at k = N / 200. The Elias-Fano code splits a position
into its lower l = floor(log2(N / k)) bits, which are kept as they are, and the rest, which is kept as the lengths of
steps in unary: k * l + k + N / 2^l bits, at most 9.57 for each at k = N / 200, however the positions lie.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peftlab.errors import require


def pack_positions(positions: Tensor, entries: int) -> Tensor:
    """Return ascending, distinct positions below `entries`, int64 [k], as uint8 [positions_bytes(k, entries)]."""
    given = positions.cpu().numpy()
    width, steps = _layout(len(given), entries)
    lower = (given[:, None] >> np.arange(width)) & 1
    upper = np.zeros(steps, dtype=np.uint8)
    upper[(given >> width) + np.arange(len(given))] = 1
    return torch.from_numpy(np.concatenate([np.packbits(lower.astype(np.uint8)), np.packbits(upper)]))


def unpack_positions(packed: Tensor, count: int, entries: int) -> Tensor:
    """Return the `count` positions that `pack_positions` was given, int64 [count].

    Raises:
        UserError: the bytes do not hold so many ascending positions below `entries`.
    """
    width, steps = _layout(count, entries)
    expected = positions_bytes(count, entries) if count <= entries else None
    fits = packed.dtype == torch.uint8 and packed.shape == (expected,)
    require(fits, f"delta: {list(packed.shape)} {packed.dtype} does not hold {count} of {entries} positions")
    data = packed.numpy()
    split = _bytes(count * width)
    bits = np.unpackbits(data[:split], count=count * width).reshape(count, width)
    lower = (bits.astype(np.int64) << np.arange(width)).sum(axis=1)
    ones = np.flatnonzero(np.unpackbits(data[split:], count=steps))
    require(len(ones) == count, f"delta: the positions are {len(ones)}, the values {count}")
    positions: NDArray[np.int64] = ((ones - np.arange(count)) << width) | lower
    valid = count == 0 or (positions[-1] < entries and bool((np.diff(positions) > 0).all()))
    require(valid, f"delta: its positions are not ascending or not below {entries}")
    return torch.from_numpy(positions)


def positions_bytes(count: int, entries: int) -> int:
    """Return the bytes of `count` packed positions below `entries`."""
    width, steps = _layout(count, entries)
    return _bytes(count * width) + _bytes(steps)


def _layout(count: int, entries: int) -> tuple[int, int]:
    """Return the width of the lower part of a position, and the length of the unary part, in bits."""
    if count == 0:
        return 0, 0
    width = max(0, (entries // count).bit_length() - 1)
    return width, count + ((entries - 1) >> width)


def _bytes(bits: int) -> int:
    return -(-bits // 8)
