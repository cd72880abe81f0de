"""A mask takes a bit an entry and comes back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peftlab.errors import UserError
from peftlab.masks.packing import pack, packed_bytes, unpack


@pytest.mark.parametrize("shape", [(1,), (8,), (3, 5), (7, 16)])
def test_a_mask_comes_back(shape: tuple[int, ...]) -> None:
    mask = torch.rand(shape) < 0.3
    bits = pack(mask)
    assert bits.numel() == packed_bytes(mask.numel())
    assert torch.equal(unpack(bits, mask.shape), mask)


@pytest.mark.parametrize("bits", [torch.zeros(1, dtype=torch.uint8), torch.zeros(2), torch.zeros(2, 1).byte()])
def test_bits_of_another_shape_are_refused(bits: torch.Tensor) -> None:
    with pytest.raises(UserError, match="mask"):
        unpack(bits, torch.Size((3, 5)))


@given(st.lists(st.integers(1, 6), max_size=3), st.integers(0, 10_000))
@settings(max_examples=40, deadline=None)
def test_any_mask_comes_back_with_the_first_entry_in_the_highest_bit(sizes: list[int], seed: int) -> None:
    mask = torch.rand(sizes, generator=torch.Generator().manual_seed(seed)) < 0.5
    bits = pack(mask)
    assert bits.dtype == torch.uint8
    assert torch.equal(unpack(bits, mask.shape), mask)
    first = mask.flatten()[:8].int().tolist()
    assert bits[0] == sum(bit << (7 - place) for place, bit in enumerate(first))
