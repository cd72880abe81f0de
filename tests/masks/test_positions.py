"""Positions come back as they were, in hardly more bits than naming them takes, or are refused."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peftlab.errors import UserError
from peftlab.masks.positions import pack_positions, positions_bytes, unpack_positions


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(0, n - 1), max_size=60))))
@settings(max_examples=200, deadline=None)
def test_positions_come_back(case: tuple[int, set[int]]) -> None:
    entries, chosen = case
    positions = torch.tensor(sorted(chosen), dtype=torch.int64)
    packed = pack_positions(positions, entries)
    assert packed.dtype == torch.uint8
    assert packed.numel() == positions_bytes(len(chosen), entries)
    assert torch.equal(unpack_positions(packed, len(chosen), entries), positions)


def test_all_entries_of_a_whole_tensor_come_back() -> None:
    positions = torch.arange(100)
    assert torch.equal(unpack_positions(pack_positions(positions, 100), 100, 100), positions)


def information(count: int, entries: int) -> float:
    """Return the bits that naming `count` of `entries` takes: log2 of the binomial coefficient."""
    ways = math.lgamma(entries + 1) - math.lgamma(count + 1) - math.lgamma(entries - count + 1)
    return ways / math.log(2)


@pytest.mark.parametrize("share", [0.3, 0.1, 0.01, 0.005, 0.001, 0.0001])
def test_with_values_of_32_bits_they_take_hardly_more_than_they_hold(share: float) -> None:
    entries = 335_141_888
    count = int(share * entries)
    held = information(count, entries) + 32 * count
    assert held <= 8 * positions_bytes(count, entries) + 32 * count <= 1.04 * held


def test_the_size_does_not_depend_on_where_they_are() -> None:
    together, apart = torch.arange(50), torch.arange(50) * 200 + 199
    assert pack_positions(together, 10_000).numel() == pack_positions(apart, 10_000).numel()


@pytest.mark.parametrize(
    ("packed", "count", "entries"),
    [
        (torch.zeros(3), 2, 100),
        (torch.zeros(1, dtype=torch.uint8), 2, 100),
        (torch.zeros(2, 2, dtype=torch.uint8), 2, 100),
        (torch.zeros(positions_bytes(2, 100), dtype=torch.uint8), 2, 100),
        (torch.full((positions_bytes(2, 100),), 255, dtype=torch.uint8), 2, 100),
        (pack_positions(torch.tensor([98, 99]), 100), 2, 99),
        (pack_positions(torch.tensor([1, 2]), 100), 3, 2),
    ],
)
def test_bytes_that_hold_no_such_positions_are_refused(packed: torch.Tensor, count: int, entries: int) -> None:
    with pytest.raises(UserError, match="delta"):
        unpack_positions(packed, count, entries)


def test_positions_out_of_order_are_refused() -> None:
    # Both in the first block of 32: only their lower bits tell them apart.
    packed = pack_positions(torch.tensor([3, 3]), 100)
    with pytest.raises(UserError, match="ascending"):
        unpack_positions(packed, 2, 100)
