"""Random draws: one seed of the user's, an independent stream of numbers for each purpose. All of them stand here.

Two draws from one stream are one draw twice: examples that are said to be drawn from the full set would be the few
that are trained on. Whoever draws something new adds a stream, and never begins a generator with the seed itself.
"""

from enum import Enum

import numpy as np


class Stream(Enum):
    """What is drawn, with the number that makes its stream another one; numbers are never given again.

    The first four draw as they did before this list was made, so that runs keep their numbers. CLASSIFIER, SHOTS and
    TRAINING begin with the seed itself, and take different things from it: normal numbers, a permutation of the
    training set, and the seeds of another generator, which draws dropout. BATCHES permutes what SHOTS has left.
    """

    CLASSIFIER = 0  # first weights of the classifier (backbones.loading)
    SHOTS = 1  # which examples the few shots are (data.shots)
    BATCHES = 2  # the order of training examples, anew each epoch (data.batching)
    TRAINING = 3  # dropout, and what a strategy draws in a step, each rank its own (training.callbacks)
    INSERTED = 4  # first weights of what a strategy puts in (training.callbacks)
    SAMPLE = 5  # examples that a strategy looks at before training (data.module)
    BRIEF_ORDER = 6  # the order of examples that HiFi tunes on before it scores (strategies.hifi)
    BRIEF_TUNING = 7  # dropout meanwhile (heads.brief_tuning)
    RANDOM_HEADS = 8  # HiFi's heads without a score (heads.ranking)
    CHILD_NETWORKS = 9  # Child-Tuning F's mask of each step (strategies.child_tuning)
    GATES = 10  # Diff-Pruning's last draw of its gates (strategies.diff_pruning)
    LANDSCAPE = 11  # examples whose loss is mapped (landscape.tuned)
    # The same whatever the seed, so that runs can be compared: begun with 0.
    HELD_OUT = 12  # training examples that a search validates on (data.shots)
    EVALUATED = 13  # examples of an evaluation that is limited to some batches (data.batching)
    OWN_VALIDATION = 14  # rows of a user's training file that validate, where no other file does (tasks.sources.own)
    # By the seed again.
    HEAD_COUNTS = 15  # which layer gets which number of heads, where chance decides (heads.allocation)
    RANDOM_PARTS = 16  # heads and inner values that S2FT tunes (masks.random_parts)
    HEAD_SCALES_ORDER = 17  # the order of examples that LoFiT's scaling vectors are tuned on (strategies.lofit)
    HEAD_SCALES = 18  # what these vectors begin with, and dropout meanwhile (heads.scaling)
    # The same whatever the seed.
    SEARCHED_RATES = 19  # learning rates of a search, where they are drawn, one a part (resolvers)


_SEEDS = 2**32


def seed_of(stream: Stream, seed: int, part: int = 0) -> int:
    """Return what a generator of a stream begins with, a whole number in [0, 2**32) (BATCHES: 2**63).

    Args:
        stream: what is drawn.
        seed: the run's, 0 or more.
        part: which part of the stream: the epoch of BATCHES, the rank of TRAINING.
    """
    if stream is Stream.BATCHES:
        # A plain sum would give seed 1 the orders of seed 0, one epoch later.
        return (seed * 1_000_003 + part) % 2**63
    if stream in (Stream.CLASSIFIER, Stream.SHOTS, Stream.TRAINING, Stream.HELD_OUT) and part == 0:
        return seed % _SEEDS
    # numpy's own way to independent streams: every bit of the result depends on all of the entropy and the key.
    return int(np.random.SeedSequence(seed, spawn_key=(stream.value, part)).generate_state(1)[0])
