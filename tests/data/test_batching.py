import random
from itertools import islice, pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peftlab.data.batching import ORDERS, LengthGroupedBatches, cut, evaluation_batches, longest_first

LENGTHS = random.Random(0).choices(range(3, 129), k=5000)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=400),
    st.integers(1, 50),
    st.integers(0, 5),
    st.integers(0, 5),
    st.booleans(),
)
def test_every_example_comes_once_an_epoch(lengths: list[int], size: int, seed: int, epoch: int, grouped: bool):
    sampler = LengthGroupedBatches(lengths, size, seed, grouped)
    sampler.set_epoch(epoch)
    batches = list(sampler)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert len(batches) == len(sampler)
    # All batches are full but one, the rest.
    assert sum(len(batch) != size for batch in batches) <= 1


@pytest.mark.parametrize("grouped", [True, False])
def test_the_order_depends_on_seed_and_epoch_and_on_nothing_else(grouped: bool):
    orders = {}
    for seed in (0, 1, 2):
        for epoch in (0, 1, 2):
            torch.manual_seed(random.randrange(2**31))
            sampler = LengthGroupedBatches(LENGTHS, 16, seed, grouped)
            sampler.set_epoch(epoch)
            state = torch.get_rng_state()
            orders[seed, epoch] = [tuple(batch) for batch in sampler]
            assert torch.equal(torch.get_rng_state(), state)
            assert orders[seed, epoch] == [tuple(batch) for batch in sampler]
    assert len({tuple(order) for order in orders.values()}) == 9


def padded(sampler: LengthGroupedBatches) -> int:
    return sum(len(batch) * max(LENGTHS[index] for index in batch) for batch in sampler)


def test_grouping_by_length_saves_almost_all_pads():
    tokens = sum(LENGTHS)
    grouped, plain = (padded(LengthGroupedBatches(LENGTHS, 16, 0, how)) for how in (True, False))
    assert grouped < 1.05 * tokens < 1.5 * tokens < plain


def test_grouped_batches_come_in_no_order_of_length():
    longest = [max(LENGTHS[index] for index in batch) for batch in LengthGroupedBatches(LENGTHS, 16, 0, True)]
    rises = sum(a < b for a, b in pairwise(longest))
    assert 0.4 < rises / len(longest) < 0.6


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize("limit", [1.0, 0.5, 1, 3, 10**6])
def test_evaluation_takes_every_example_once_in_full_batches(size: int, limit: float):
    batches = evaluation_batches(LENGTHS[:500], size, limit)
    assert sorted(index for batch in batches for index in batch) == list(range(500))
    assert [len(batch) == size for batch in batches].count(False) <= 1


@pytest.mark.parametrize("limit", [2, 0.2])
def test_a_limited_evaluation_is_of_a_sample_not_of_the_longest(limit: float):
    lengths = list(range(640))
    batches = evaluation_batches(lengths, 64, limit)
    chosen = [index for batch in batches[:2] for index in batch]
    assert chosen == sorted(chosen, reverse=True)  # pads are saved all the same
    assert 280 < sum(chosen) / len(chosen) < 360  # of a mean of 320
    assert batches == evaluation_batches(lengths, 64, limit)


def test_a_loader_made_for_a_later_epoch_begins_it_at_its_start():
    orders = []
    for epoch in (1, 2):
        sampler = LengthGroupedBatches(LENGTHS, 16, 0, True, begin=(1, 3))
        sampler.set_epoch(epoch)
        orders.append(list(sampler))
    assert [len(order) for order in orders] == [len(LengthGroupedBatches(LENGTHS, 16, 0, True)) - 3, 313]


def test_fixed_epochs_are_the_first():
    first, sampler = (LengthGroupedBatches(LENGTHS, 16, 0, True, fixed=fixed) for fixed in (False, True))
    sampler.set_epoch(7)
    assert list(sampler) == list(first)


def test_evaluation_takes_the_longest_first_and_keeps_ties_in_order():
    assert longest_first([3, 7, 3, 9]) == [3, 1, 0, 2]


def test_examples_come_as_they_stand_by_length_or_without_end():
    found = {name: list(islice(order([3, 7, 3, 9]), 6)) for name, order in ORDERS.items()}
    assert found == {
        "given": [0, 1, 2, 3],
        "shortest": [0, 2, 1, 3],
        "longest": [3, 1, 0, 2],
        "endless": [0, 1, 2, 3, 0, 1],
    }


def test_an_order_is_cut_into_batches_of_which_the_last_is_short_and_an_endless_one_never_is():
    assert list(cut(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(islice(cut(ORDERS["endless"]([1, 1, 1]), 2), 3)) == [[0, 1], [2, 0], [1, 2]]
