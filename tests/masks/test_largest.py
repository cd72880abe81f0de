"""The largest share of all values is NumPy's percentile, at any size."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peftlab.masks.largest import above_all_but, ascending, largest_share
from shapes import BERT_LARGE, shape_of


@given(
    st.lists(st.floats(0, 2.0**99, width=32, allow_subnormal=False), min_size=1, max_size=40),
    st.sampled_from([0.1, 0.25, 0.3, 0.5, 0.9, 1.0]),
    st.integers(0, 40),
)
@settings(max_examples=200, deadline=None)
def test_entries_at_or_above_the_percentile_are_kept(numbers: list[float], share: float, cut: int) -> None:
    whole = torch.tensor(numbers, dtype=torch.float32)
    masks, smallest = largest_share({"a": whole[:cut], "b": whole[cut:]}, share)
    percentile = np.percentile(whole.double().numpy(), round(100 * (1 - share)), method="higher")
    assert smallest == percentile
    assert torch.equal(torch.cat([masks["a"], masks["b"]]), whole >= smallest)


def test_every_value_is_found_at_its_index() -> None:
    values = torch.cat([torch.rand(500), torch.zeros(20), torch.tensor([1e-45, 3e38])])
    parts = [values[:100], values[100:].view(2, -1)]
    assert [ascending(parts, index) for index in range(len(values))] == values.sort().values.tolist()


def test_more_entries_than_quantile_takes() -> None:
    values = torch.arange(2**24 + 8, dtype=torch.int32).view(torch.float32)  # ascending as floats too
    masks, _ = largest_share({"many": values}, 0.25)
    assert int(masks["many"].sum()) == 2**22 + 2


def test_the_child_network_of_bert_large_has_the_size_of_the_authors() -> None:
    # 302,309,376 encoder weights; the interpolated percentile lies between two entries.
    count = 302_309_376
    assert count - int(np.ceil((1 - 0.3) * (count - 1))) == 90_692_813


def test_ties_are_kept() -> None:
    masks, smallest = largest_share({"a": torch.tensor([1.0, 1.0, 0.0, 1.0])}, 0.25)
    assert smallest == 1.0
    assert masks["a"].tolist() == [True, True, False, True]


@given(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0, 2.0, 4.0]), min_size=2, max_size=30),
    st.integers(0, 29),
    st.integers(0, 30),
)
@settings(max_examples=200, deadline=None)
def test_at_most_so_many_are_above_and_a_tie_is_kept_whole_or_not_at_all(
    numbers: list[float], count: int, cut: int
) -> None:
    whole = torch.tensor(numbers)
    count = min(count, len(numbers) - 1)
    threshold = above_all_but([whole[:cut], whole[cut:]], count)
    # The smallest value that will do, by trying all.
    assert threshold == min(value for value in numbers if sum(other > value for other in numbers) <= count)


def test_of_bert_larges_encoder_the_child_network_is_ninety_million() -> None:
    shapes = [p.shape for p in shape_of(BERT_LARGE).view.encoder_parameters().values()]
    # Different floats in ascending order, as their bits are; the first that is no subnormal number has the bits 2^23.
    bits = torch.arange(2**23, 2**23 + 302_309_376, dtype=torch.int32)
    parts = bits.view(torch.float32).split([shape.numel() for shape in shapes])
    masks, smallest = largest_share({str(index): part for index, part in enumerate(parts)}, 0.3)
    assert sum(int(mask.sum()) for mask in masks.values()) == 90_692_813
    assert smallest == bits[-90_692_813].view(torch.float32).item()
