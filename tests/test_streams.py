"""One seed, independent draws: no two purposes see the same numbers."""

from itertools import product

import numpy as np
import pytest
import torch

from peftlab.data.shots import few_shot
from peftlab.streams import Stream, seed_of

KEPT = (Stream.CLASSIFIER, Stream.SHOTS, Stream.BATCHES, Stream.TRAINING, Stream.HELD_OUT)
OWN = [stream for stream in Stream if stream not in KEPT]


def test_no_two_streams_seeds_or_parts_begin_alike():
    begun = [seed_of(stream, seed, part) for stream, seed, part in product(OWN, range(50), range(3))]
    begun += [seed_of(Stream.TRAINING, seed, rank) for seed in range(50) for rank in range(1, 4)]
    assert len(set(begun)) == len(begun)
    assert not {seed_of(stream, seed) for stream, seed in product(KEPT, range(50))} & set(begun)


def test_numbers_stand_for_streams_for_good():
    assert [stream.value for stream in Stream] == list(range(len(Stream)))
    sequence = np.random.SeedSequence(7, spawn_key=(Stream.SAMPLE.value, 0))
    assert seed_of(Stream.SAMPLE, 7) == sequence.generate_state(1)[0]


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_what_was_drawn_before_there_were_streams_is_drawn_still(seed: int):
    assert seed_of(Stream.CLASSIFIER, seed) == seed_of(Stream.SHOTS, seed) == seed_of(Stream.TRAINING, seed) == seed
    assert seed_of(Stream.BATCHES, seed, 3) == seed * 1_000_003 + 3
    order = torch.randperm(40, generator=torch.Generator().manual_seed(seed)).tolist()
    assert few_shot([list(range(40))], 8, seed) == (order[:8], order[8:16])


def test_any_state_of_torch_is_a_seed():
    assert 0 <= seed_of(Stream.GATES, 2**64 - 1) < 2**32
