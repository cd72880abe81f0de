"""Numbers beside the robustness figures: scipy's rank correlations and overlaps counted by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats

from peftlab.report.figures.hifi.rank_agreement import RankAgreement, against, between_seeds, overlap, top, top_count
from peftlab.report.figures.hifi.selections import Heads


def heads_with(richness: np.ndarray, seeds: list[int] | None = None, k: int = 2, **fields) -> Heads:
    """Heads [S, L, H] of which the k richest are chosen, uncorrelated unless `correlation` says otherwise."""
    runs, layers, count = richness.shape
    given: dict = {"correlation": np.zeros((runs, layers, count, count)), "ranks": richness, "chosen": top(richness, k)}
    return Heads(seeds or list(range(1, runs + 1)), richness, **(given | fields))


def drawn(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).random(shape)


def symmetric(values: np.ndarray) -> np.ndarray:
    return (values + values.swapaxes(-1, -2)) * (1 - np.eye(values.shape[-1]))


def test_rank_correlations_are_scipys_layer_by_layer() -> None:
    first, second = drawn(0, 2, 1, 3, 8)
    found = against(heads_with(first), heads_with(second), "richness")
    pairs = list(zip(first[0], second[0], strict=True))
    spearman = [stats.spearmanr(a, b).statistic for a, b in pairs]
    assert found is not None
    assert found.spearman == pytest.approx(np.mean(spearman))
    assert found.lowest == pytest.approx(min(spearman))
    assert found.kendall == pytest.approx(np.mean([stats.kendalltau(a, b).statistic for a, b in pairs]))


def test_kendall_counts_pairs_in_order_by_hand() -> None:
    # Of the six pairs of four heads only (3, 4) stands the other way round: (5 - 1) / 6.
    first, second = np.array([[[1.0, 2.0, 3.0, 4.0]]]), np.array([[[10.0, 20.0, 40.0, 30.0]]])
    found = against(heads_with(first), heads_with(second), "richness")
    assert (found.kendall, found.spearman) == pytest.approx((4 / 6, 1 - 6 * 2 / (4 * 15)))


def test_runs_are_compared_with_those_of_their_own_seed() -> None:
    values = drawn(1, 3, 2, 6)
    ours, theirs = heads_with(values, [1, 2, 3]), heads_with(values[[2, 0]], [3, 1])
    assert against(ours, theirs, "richness") == RankAgreement(*[pytest.approx(1.0)] * 5)
    swapped = heads_with(values[[0, 2]], [3, 1])
    assert against(ours, swapped, "richness").spearman < 0.9


def test_without_a_seed_in_common_nothing_is_compared() -> None:
    values = drawn(2, 1, 2, 6)
    assert against(heads_with(values, [1]), heads_with(values, [2]), "richness") is None


def test_between_seeds_is_the_mean_over_all_pairs_of_runs() -> None:
    values = drawn(3, 3, 1, 7)
    found = between_seeds(heads_with(values), "richness")
    expected = [stats.spearmanr(values[a, 0], values[b, 0]).statistic for a, b in ((0, 1), (0, 2), (1, 2))]
    assert found.spearman == pytest.approx(np.mean(expected))
    assert found.lowest == pytest.approx(min(expected))  # of any pair of seeds: no mean of lowests
    assert between_seeds(heads_with(values[:1]), "richness") is None


def test_of_the_correlation_every_pair_of_heads_counts_once() -> None:
    first, second = symmetric(drawn(4, 1, 1, 5, 5)), symmetric(drawn(5, 1, 1, 5, 5))
    found = against(heads_with(drawn(6, 1, 1, 5), correlation=first), heads_with(drawn(6, 1, 1, 5), correlation=second),
                    "correlation")  # fmt: skip
    upper = np.triu_indices(5, 1)
    expected = stats.spearmanr(first[0, 0][upper], second[0, 0][upper]).statistic
    assert found.spearman == pytest.approx(expected)


@pytest.mark.parametrize(("count", "pairs", "strongest"), [(12, 66, 7), (16, 120, 12), (4, 6, 1), (2, 1, 1)])
def test_the_strongest_tenth_of_the_pairs_is_the_top_of_a_correlation(count: int, pairs: int, strongest: int) -> None:
    found = heads_with(drawn(7, 1, 2, count), k=1)
    assert found.pairs.shape == (1, 2, pairs)
    assert top_count(found, "correlation") == strongest
    assert top_count(found, "richness") == 1


def test_what_does_not_vary_cannot_be_ranked_and_is_left_out() -> None:
    level = np.ones((1, 2, 5))
    found = against(heads_with(level), heads_with(drawn(8, 1, 2, 5)), "richness")
    assert (found.spearman, found.kendall, found.lowest) == (None, None, None)
    level[0, 1] = [1, 2, 3, 4, 5]
    half = against(heads_with(level), heads_with(level), "richness")
    assert half.spearman == pytest.approx(1.0)  # of the layer that varies


def test_the_overlap_is_twice_the_common_part_of_both() -> None:
    first, second = np.array([[True, True, False]]), np.array([[False, True, False]])
    assert overlap(first, second) == pytest.approx(2 / 3)
    assert overlap(first, ~first) == 0
    assert overlap(first & False, second & False) is None


def test_layers_without_chosen_heads_count_by_what_is_chosen_elsewhere() -> None:
    values = drawn(9, 1, 4, 6)
    chosen = top(values, 2)
    chosen[:, :2] = False  # mid-top: only the upper half is tuned
    heads = heads_with(values, chosen=chosen)
    assert top_count(heads, "richness") == 2
    assert against(heads, heads, "richness").chosen == 1


@given(some.lists(some.integers(0, 5), min_size=1, max_size=9), some.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_the_top_are_the_largest_and_ties_go_to_the_lower_index(values: list[int], count: int) -> None:
    found = top(np.array(values, dtype=float), count)
    best = sorted(range(len(values)), key=lambda index: (-values[index], index))[:count]
    assert np.flatnonzero(found).tolist() == sorted(best)


def test_chance_overlap_of_heads_is_about_k_of_h() -> None:
    # What the page's percentages stand against: two random choices of 3 of 12 heads share a quarter.
    first, second = drawn(10, 2, 1, 400, 12)
    found = against(heads_with(first, k=3), heads_with(second, k=3), "richness")
    assert found.top == pytest.approx(0.25, abs=0.02)
    assert found.spearman == pytest.approx(0, abs=0.04)
