"""Information richness counts singular directions as a float64 SVD would, whatever the padding or precision."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peftlab.errors import UserError
from peftlab.heads.richness import cumulative_shares, information_richness, singular_values


def richness_of(outputs, mask, xi):
    return information_richness(cumulative_shares(outputs, mask), xi)


def full(batch, length):
    return torch.ones(batch, length, dtype=torch.long)


def diagonal(*values, length=8, size=6):
    """One example with one head whose singular values are `values`."""
    outputs = torch.zeros(1, length, 1, size)
    for index, value in enumerate(values):
        outputs[0, index, 0, index] = value
    return outputs


def low_rank(rank, *, batch=3, length=40, heads=4, size=16, seed=0):
    """Whole numbers, so the rank is exact in every precision."""
    draw = torch.Generator().manual_seed(seed)
    left = torch.randint(-3, 4, (batch, heads, length, rank), generator=draw).double()
    right = torch.randint(-3, 4, (batch, heads, rank, size), generator=draw).double()
    return (left @ right).transpose(1, 2)


def decaying(*, batch=3, length=40, heads=4, size=16, rate=0.7, seed=0):
    draw = torch.Generator().manual_seed(seed)
    outputs = torch.randn(batch, length, heads, size, generator=draw, dtype=torch.float64)
    mixing = torch.linalg.qr(torch.randn(size, size, generator=draw, dtype=torch.float64)).Q
    return outputs * rate ** torch.arange(size) @ mixing


def richness_by_svd(outputs, lengths, xi):
    """Eq. 2 by its words: float64 SVD of the unpadded output of one example and head at a time."""
    result = torch.zeros(outputs.shape[0], outputs.shape[2], dtype=torch.float64)
    for example, length in enumerate(lengths):
        for head in range(outputs.shape[2]):
            shares = torch.linalg.svdvals(outputs[example, :length, head].double())
            reached = shares.cumsum(0) / shares.sum()
            result[example, head] = next(t + 1 for t, share in enumerate(reached) if share >= xi - 1e-12)
    return result


@pytest.mark.parametrize(
    ("values", "xi", "expected"),
    [
        ((9.0, 1.0), 0.9, 1),  # 9 of 10 reaches 0.9 exactly; of the squares 81 of 82
        ((8.9, 1.1), 0.9, 2),
        ((3.0, 1.0), 0.9, 2),  # squared values would give 9 of 10, and 1
        ((5.0, 3.0, 1.0, 1.0), 0.5, 1),
        ((5.0, 3.0, 1.0, 1.0), 0.8, 2),
        ((5.0, 3.0, 1.0, 1.0), 0.81, 3),
        ((1.0, 1.0, 1.0, 1.0), 0.75, 3),
        ((4.0, 2.0, 1.0), 1.0, 3),
        ((4.0, 2.0, 1e-5), 1.0, 3),
        ((2.0,), 1e-9, 1),
        ((), 0.9, 0),
    ],
)
def test_counts_plain_singular_values_until_their_share_reaches_xi(values, xi, expected):
    assert richness_of(diagonal(*values), full(1, 8), xi).tolist() == [[expected]]


@pytest.mark.parametrize(("xi", "expected"), [(0.5, 1), (0.8, 2), (0.9, 3), (1.0, 4)])
def test_exact_ties_are_settled_whatever_the_rounding(xi, expected):
    # Values 5, 3, 1, 1 in a hundred turned bases: rounding leaves their shares just above or just below xi.
    draw = torch.Generator().manual_seed(0)
    left, right = (torch.randn(100, n, 4, generator=draw, dtype=torch.float64) for n in (40, 6))
    values = torch.tensor([5.0, 3.0, 1.0, 1.0], dtype=torch.float64)
    outputs = (torch.linalg.qr(left).Q * values) @ torch.linalg.qr(right).Q.mT
    assert (richness_of(outputs[:, :, None], full(100, 40), xi) == expected).all()


@pytest.mark.parametrize("xi", [0.3, 0.5, 0.9, 0.99])
@pytest.mark.parametrize(
    "outputs",
    [
        low_rank(5),
        low_rank(12),
        decaying(),
        decaying(rate=0.2),
        decaying(length=9),
        decaying(length=1),
        decaying(size=64, length=128, rate=0.9),
        decaying(rate=0.95).float(),
        decaying(rate=0.5).half(),
        decaying(rate=0.5).bfloat16(),
    ],
)
def test_equals_float64_svd(outputs, xi):
    batch, length = outputs.shape[:2]
    expected = richness_by_svd(outputs, [length] * batch, xi)
    assert torch.equal(richness_of(outputs, full(batch, length), xi), expected)


@pytest.mark.parametrize("size", [4, 16, 64])
def test_singular_values_equal_svd_and_stop_at_the_shorter_side(size):
    outputs = decaying(length=20, size=size, rate=0.9)
    values = singular_values(outputs, full(3, 20))
    assert values.dtype == torch.float64
    assert values.shape == (3, 4, min(20, size))
    expected = torch.linalg.svdvals(outputs.transpose(1, 2))
    torch.testing.assert_close(values, expected, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("side", ["right", "left"])
def test_pads_count_neither_by_their_values_nor_by_their_number(side):
    lengths = [1, 5, 14]
    real = decaying(length=14, rate=0.9)
    padded = torch.full((3, 30, 4, 16), float("nan"), dtype=torch.float64)
    mask = torch.zeros(3, 30, dtype=torch.long)
    for example, length in enumerate(lengths):
        place = slice(0, length) if side == "right" else slice(30 - length, 30)
        padded[example, place] = real[example, :length]
        mask[example, place] = 1
    assert torch.equal(richness_of(padded, mask, 0.9), richness_by_svd(real, lengths, 0.9))
    values = singular_values(padded, mask)
    for example, length in enumerate(lengths):
        assert (values[example, :, :length] > 0).all()
        assert (values[example, :, length:] == 0).all()


def test_the_input_is_left_as_it_is():
    outputs = torch.ones(2, 3, 1, 2, dtype=torch.float64)
    richness_of(outputs, torch.tensor([[1, 0, 0], [1, 1, 0]]), 0.9)
    assert (outputs == 1).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@pytest.mark.parametrize(("length", "size"), [(6, 16), (40, 16), (512, 8)])
@pytest.mark.parametrize("rank", [1, 3])
def test_all_of_the_sum_is_reached_at_the_rank_and_not_beyond(rank, length, size, dtype):
    outputs = low_rank(rank, length=length, size=size).to(dtype)
    ranks = torch.linalg.matrix_rank(outputs.transpose(1, 2).double()).double()
    assert torch.equal(richness_of(outputs, full(3, length), 1.0), ranks)


@given(scale=st.floats(1e-12, 1e12), xi=st.floats(0.01, 0.999))
def test_the_scale_of_a_head_does_not_matter(scale, xi):
    outputs = decaying(rate=0.9)
    expected = richness_of(outputs, full(3, 40), xi)
    assert torch.equal(richness_of(outputs * scale, full(3, 40), xi), expected)


@given(low=st.floats(1e-6, 1), high=st.floats(1e-6, 1), rank=st.integers(1, 16), seed=st.integers(0, 99))
def test_richness_grows_with_xi_up_to_the_rank(low, high, rank, seed):
    low, high = sorted((low, high))
    outputs = low_rank(rank, seed=seed)
    smaller, larger = (richness_of(outputs, full(3, 40), xi) for xi in (low, high))
    assert (smaller >= 1).all()
    assert (smaller <= larger).all()
    assert (larger <= rank).all()


def test_an_example_alone_scores_as_in_a_batch():
    outputs = decaying(rate=0.9, batch=5)
    together = richness_of(outputs, full(5, 40), 0.9)
    alone = [richness_of(outputs[i : i + 1], full(1, 40), 0.9) for i in range(5)]
    assert torch.equal(together, torch.cat(alone))


@pytest.mark.parametrize("xi", [0, -0.1, 1.01, 90, float("nan"), float("inf"), "high", True])
def test_xi_outside_its_range_is_refused(xi):
    with pytest.raises(UserError, match=rf"xi={xi}: .*\(0, 1\]"):
        richness_of(diagonal(1.0), full(1, 8), xi)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_refused_with_a_remedy(value):
    with pytest.raises(UserError, match=r"not finite.*precision"):
        richness_of(diagonal(1.0, value), full(1, 8), 0.9)


@pytest.mark.parametrize("length", [9, 40])
def test_the_shares_are_those_of_a_float64_svd_over_all_features(length):
    outputs = decaying(length=length, rate=0.9)
    shares = cumulative_shares(outputs, full(3, length))
    values = torch.linalg.svdvals(outputs.transpose(1, 2))
    expected = torch.ones(3, 4, 16, dtype=torch.float64)
    expected[..., : values.shape[-1]] = values.cumsum(-1) / values.sum(-1, keepdim=True)
    torch.testing.assert_close(shares, expected, rtol=0, atol=1e-9)


def test_the_shares_of_a_dead_head_are_nothing_and_of_one_direction_everything():
    shares = cumulative_shares(torch.cat([diagonal(), diagonal(2.0)], dim=2), full(1, 8))
    assert shares.tolist() == [[[0.0] * 6, [1.0] * 6]]


@pytest.mark.parametrize("threads", [1, 2, 3, 50])
def test_threads_share_the_matrices_and_change_no_bit(threads, monkeypatch):
    outputs, pools = decaying(rate=0.9), []
    expected = torch.linalg.eigvalsh((outputs.transpose(1, 2).mT @ outputs.transpose(1, 2)).contiguous()).flip(-1)

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers):
            pools.append(workers)
            super().__init__(workers)

        def map(self, function, parts):
            pools.append(len(parts))
            return super().map(function, parts)

    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr("peftlab.heads.richness.ThreadPoolExecutor", Pool)
    assert torch.equal(singular_values(outputs, full(3, 40)), expected.clamp(min=0).sqrt())
    # Three examples of four heads make twelve matrices; one thread needs no pool.
    assert pools == {1: [], 2: [2, 2], 3: [3, 3], 50: [50, 12]}[threads]
