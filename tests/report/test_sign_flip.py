"""The sign-flip test is exact: counted by hand, by scipy, and as nearly as it says where differences are rounded."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats

from peftlab.report.sign_flip import COUNTED_UP_TO, EXCESS, sign_flip
from peftlab.results.pairs import pairs_needed, smallest_p

FEW = some.lists(some.floats(-50, 50).map(lambda x: round(x, 3)), min_size=2, max_size=9)


def by_counting(differences: list[float]) -> float:
    observed = abs(sum(differences))
    patterns = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    return sum(value >= observed - 1e-9 * (1 + observed) for value in patterns) / len(patterns)


def in_units(differences: list[int]) -> float:
    """Count the patterns of whole differences, in whole numbers: none is lost to rounding."""
    patterns = {0: 1}
    for size in map(abs, differences):
        moved: dict[int, int] = {}
        for total, count in patterns.items():
            for sign in (1, -1):
                moved[total + sign * size] = moved.get(total + sign * size, 0) + count
        patterns = moved
    observed = abs(sum(differences))
    return sum(count for total, count in patterns.items() if abs(total) >= observed) / 2 ** len(differences)


def seeds(n: int, shift: float) -> list[int]:
    """Differences of n pairs on a task of 277 examples, in examples."""
    return np.rint(277 * np.random.default_rng(n).normal(shift, 0.02, size=n)).astype(int).tolist()


def test_sign_flip_equals_scipys_permutation_test() -> None:
    differences = [0.5, 2.6, 3.7, -0.4, 1.9]

    def mean(values, axis):
        return np.mean(values, axis=axis)

    reference = stats.permutation_test((differences,), mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip(differences) == pytest.approx(reference.pvalue)


@given(FEW)
@settings(max_examples=60, deadline=None)
def test_every_pattern_counts_and_p_never_falls_below_its_floor(differences: list[float]) -> None:
    p = sign_flip(differences)
    assert p == by_counting(differences)
    assert smallest_p(len(differences)) <= p <= 1


@pytest.mark.parametrize("n", [17, 24, COUNTED_UP_TO])
@pytest.mark.parametrize("shift", [0.0, 0.004, 0.01])
def test_it_is_exact_above_16_pairs_too(n: int, shift: float) -> None:
    differences = seeds(n, shift)
    assert sign_flip([value / 277 for value in differences]) == in_units(differences)


@pytest.mark.parametrize("n", [COUNTED_UP_TO + 1, 48, 120])
@pytest.mark.parametrize("shift", [0.0, 0.004, 0.015])
def test_with_many_pairs_it_is_never_too_small_and_hardly_too_large(n: int, shift: float) -> None:
    differences = seeds(n, shift)
    exact = in_units(differences)
    assert exact * (1 - 1e-9) <= sign_flip([value / 277 for value in differences]) <= (1 + EXCESS) * exact


@pytest.mark.parametrize("n", [18, 40, 200])
def test_equal_differences_are_at_the_floor(n: int) -> None:
    assert sign_flip([1.0] * n) == pytest.approx(smallest_p(n))
    assert sign_flip([0.0] * n) == 1
    assert sign_flip([0.3, -0.3] * (n // 2)) == 1


def test_the_other_half_of_the_pairs_is_met_whatever_the_split() -> None:
    differences = [0.5, -0.25, 1.75, 3.0, 0.125, -2.0, 0.75]
    for turn in range(len(differences)):
        assert sign_flip(differences[turn:] + differences[:turn]) == by_counting(differences)


def test_weights_count_each_task_alike() -> None:
    assert sign_flip([2.0, 4.0, -1.0], [0.25, 0.25, 0.5]) == by_counting([0.5, 1.0, -0.5])


@pytest.mark.parametrize(("n", "floor"), [(2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_few_seeds_cannot_give_a_small_p_however_large_the_difference(n: int, floor: float) -> None:
    assert smallest_p(n) == floor
    assert sign_flip([1_000.0 + i for i in range(n)]) == floor


@pytest.mark.parametrize(("tests", "pairs"), [(1, 6), (4, 8), (5, 8), (66, 12)])
def test_how_many_pairs_a_family_needs_by_trying(tests: int, pairs: int) -> None:
    assert pairs_needed(tests) == pairs
    assert smallest_p(pairs) * tests <= 0.05 < smallest_p(pairs - 1) * tests
