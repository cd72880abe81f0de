"""Every statistic against an independent reference: scipy, statsmodels, or counting by hand."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats
from statsmodels.stats.power import TTestPower

from peftlab.report import inference
from peftlab.report.inference import Paired, compare, holm, pairs_needed, sign_flip, smallest_p

DIFFERENCES = [0.5, 2.6, 3.7, -0.4, 1.9]
FEW = some.lists(some.floats(-50, 50).map(lambda x: round(x, 3)), min_size=2, max_size=7)


def by_counting(differences: list[float]) -> float:
    observed = abs(sum(differences))
    patterns = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product((1, -1), repeat=len(differences))
    ]
    return sum(value >= observed - 1e-9 for value in patterns) / len(patterns)


def test_sign_flip_equals_scipys_permutation_test() -> None:
    def mean(values, axis):
        return np.mean(values, axis=axis)

    reference = stats.permutation_test((DIFFERENCES,), mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip([DIFFERENCES]) == pytest.approx(reference.pvalue)


@given(FEW)
@settings(max_examples=60, deadline=None)
def test_sign_flip_counts_every_pattern_and_never_falls_below_its_floor(differences: list[float]) -> None:
    p = sign_flip([differences])
    assert p == pytest.approx(by_counting(differences))
    assert smallest_p(len(differences)) <= p <= 1


@pytest.mark.parametrize(("n", "floor"), [(2, 0.5), (3, 0.25), (5, 0.0625), (6, 0.03125)])
def test_few_seeds_cannot_give_a_small_p_however_large_the_difference(n: int, floor: float) -> None:
    assert smallest_p(n) == floor
    assert sign_flip([[1_000.0 + i for i in range(n)]]) == floor


def test_over_tasks_each_task_counts_alike_however_many_seeds_it_has() -> None:
    # Means are 3 and -1: their mean is 1, not the 0.6 of all five values.
    result = compare([[2.0, 4.0], [-1.0, -1.5, -0.5]])
    assert result.mean == pytest.approx(1.0)
    assert result.p == pytest.approx(by_counting([2 / 4, 4 / 4, -1 / 6, -1.5 / 6, -0.5 / 6]))


def test_many_pairs_are_sampled_and_agree_with_the_normal_limit() -> None:
    differences = np.random.default_rng(3).normal(0.5, 1.0, size=40)
    p, reference = sign_flip([differences.tolist()]), stats.ttest_1samp(differences, 0).pvalue
    assert p == pytest.approx(reference, rel=0.25)
    assert sign_flip([[1.0] * 40]) == smallest_p(40) == 0.5**16


@pytest.mark.parametrize(("tests", "pairs"), [(1, 6), (4, 8), (5, 8), (66, 12)])
def test_how_many_pairs_a_family_needs_by_trying(tests: int, pairs: int) -> None:
    assert pairs_needed(tests) == pairs
    assert smallest_p(pairs) * tests <= 0.05 < smallest_p(pairs - 1) * tests


def test_holm_by_hand_and_without_what_was_not_tested() -> None:
    # Sorted 0.01, 0.03, 0.04 times 3, 2, 1, each at least its predecessor.
    assert holm([0.04, None, 0.01, 0.03]) == [pytest.approx(0.06), None, pytest.approx(0.03), pytest.approx(0.06)]
    assert holm([None, None]) == [None, None]


def test_the_t_test_is_scipys() -> None:
    result = compare([DIFFERENCES])
    assert result.p_t == pytest.approx(stats.ttest_1samp(DIFFERENCES, 0).pvalue)


def test_over_tasks_the_t_test_has_welchs_degrees_of_freedom() -> None:
    # The mean of two independent means: ours, with one sample negated, is Welch's test of their difference.
    first, second = [1.0, 2.0, 4.0], [3.0, 3.5, 5.0, 9.0]
    reference = stats.ttest_ind(first, [-value for value in second], equal_var=False)
    assert compare([first, second]).p_t == pytest.approx(reference.pvalue)
    assert inference.standard_error([first, second])[1] == pytest.approx(reference.df)


@pytest.mark.parametrize("n", [3, 5, 12])
def test_the_detectable_difference_is_statsmodels(n: int) -> None:
    differences = np.random.default_rng(n).normal(1, 2, size=n)
    effect = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert compare([differences.tolist()]).detectable == pytest.approx(effect * differences.std(ddof=1), rel=1e-3)


@pytest.mark.parametrize(("ncp", "df"), [(0.0, 2.0), (2.0, 2.0), (3.5, 4.0), (2.8, 10.7)])
def test_power_is_statsmodels(ncp: float, df: float) -> None:
    assert inference.power(ncp, df) == pytest.approx(TTestPower().power(ncp, nobs=1, alpha=0.05, df=df), abs=1e-4)


def test_two_pairs_still_have_a_detectable_difference() -> None:
    # df = 1: |Z + ncp| / |Z'| > 12.706, by drawing; statsmodels gives NaN here.
    ncp = inference.detectable(1.0, 1.0)
    z = np.random.default_rng(0).normal(size=(2, 200_000))
    assert np.mean(np.abs(z[0] + ncp) > 12.706 * np.abs(z[1])) == pytest.approx(0.8, abs=0.005)


def test_the_effect_is_hedges_g_of_paired_differences() -> None:
    d = np.mean(DIFFERENCES) / np.std(DIFFERENCES, ddof=1)
    j = math.gamma(2) / (math.sqrt(2) * math.gamma(1.5))  # J(4), exactly
    assert j == pytest.approx(1 - 3 / (4 * 4 - 1), abs=0.003)  # Hedges' own approximation
    assert compare([DIFFERENCES]).effect == pytest.approx(d * j)


def test_the_interval_of_three_values_is_their_range() -> None:
    assert inference.bootstrap_interval([[1.0, 2.0, 7.0]]) == (1.0, 7.0)


@pytest.mark.parametrize(("n", "coverage"), [(3, 0.75), (5, 0.83)])
def test_the_interval_covers_as_rarely_as_the_page_says(n: int, coverage: float) -> None:
    rng = np.random.default_rng(1)
    intervals = [inference.bootstrap_interval([rng.normal(size=n).tolist()]) for _ in range(600)]
    assert np.mean([low <= 0 <= high for low, high in intervals]) == pytest.approx(coverage, abs=0.045)


def test_the_interval_is_scipys_within_tasks() -> None:
    strata = [[1.0, 2.0, 4.0, 3.0], [3.0, 3.5, 5.0, 9.0, 4.0]]

    def mean_of_means(a, b, axis):
        return (a.mean(axis) + b.mean(axis)) / 2

    reference = stats.bootstrap(strata, mean_of_means, method="percentile", rng=5).confidence_interval
    assert inference.bootstrap_interval(strata) == pytest.approx((reference.low, reference.high), abs=0.06)


def test_wins_ties_and_losses_by_one_decimal() -> None:
    result = compare([[0.04, -0.04, 0.06, -3.0, 2.0]])
    assert (result.wins, result.ties, result.losses) == (2, 2, 1)


@pytest.mark.parametrize(
    ("strata", "given"),
    [
        ([[2.0]], {"n": 1, "p": None, "floor": None, "p_t": None, "interval": None, "effect": None}),
        ([[2.0, 2.0, 2.0]], {"p": 0.25, "p_t": None, "effect": None, "detectable": None, "interval": (2.0, 2.0)}),
        ([[0.0, 0.0]], {"p": 1.0, "p_t": None, "effect": None, "ties": 2}),
        ([[1.0], [3.0, 4.0]], {"n": 3, "mean": 2.25, "p_t": None, "interval": None, "effect": None}),
    ],
)
def test_what_pairs_cannot_give_is_none(strata: list[list[float]], given: dict[str, object]) -> None:
    result: Paired = compare(strata)
    assert {name: getattr(result, name) for name in given} == given


# What must hold for any differences ----------------------------------------------------------------------------------

TASKS = some.lists(FEW, min_size=1, max_size=2)


@given(TASKS)
@settings(max_examples=30, deadline=None)
def test_the_other_way_round_everything_has_the_other_sign(strata: list[list[float]]) -> None:
    ours, theirs = compare(strata), compare([[-value for value in stratum] for stratum in strata])
    assert theirs.mean == pytest.approx(-ours.mean)
    assert (theirs.wins, theirs.ties, theirs.losses) == (ours.losses, ours.ties, ours.wins)
    assert theirs.p == pytest.approx(ours.p)
    assert theirs.interval == pytest.approx((-ours.interval[1], -ours.interval[0]))
    assert (theirs.p_t is None) == (ours.p_t is None)
    if ours.effect is not None:
        assert theirs.effect == pytest.approx(-ours.effect)
        assert theirs.detectable == pytest.approx(ours.detectable)


@given(FEW, some.randoms(), some.floats(0.1, 100))
@settings(max_examples=30, deadline=None)
def test_neither_the_order_of_seeds_nor_the_unit_decides(differences: list[float], random, unit: float) -> None:
    moved = [unit * value for value in differences]
    random.shuffle(moved)
    ours, theirs = compare([differences]), compare([moved])
    assert theirs.p == pytest.approx(ours.p)
    assert theirs.mean == pytest.approx(unit * ours.mean, abs=1e-9)
    if ours.effect is not None and theirs.effect is not None:
        assert theirs.effect == pytest.approx(ours.effect)
        assert theirs.p_t == pytest.approx(ours.p_t)
        assert theirs.detectable == pytest.approx(unit * ours.detectable)


@given(TASKS)
@settings(max_examples=30, deadline=None)
def test_the_interval_lies_among_the_values_and_is_the_same_each_time(strata: list[list[float]]) -> None:
    low, high = inference.bootstrap_interval(strata)
    assert np.mean([min(s) for s in strata]) - 1e-9 <= low <= high <= np.mean([max(s) for s in strata]) + 1e-9
    assert inference.bootstrap_interval(strata) == (low, high)


def test_a_lower_level_gives_a_narrower_interval() -> None:
    wide, narrow = (inference.bootstrap_interval([DIFFERENCES], level) for level in (0.95, 0.5))
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


@given(some.lists(some.floats(0.0001, 1), min_size=1, max_size=8))
@settings(max_examples=30, deadline=None)
def test_holm_is_the_step_down_maximum_of_its_definition(p_values: list[float]) -> None:
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    expected, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        expected[index] = min(1.0, largest)
    assert holm(p_values) == pytest.approx(expected)
    assert all(adjusted >= p for adjusted, p in zip(holm(p_values), p_values, strict=True))


def test_the_power_is_the_level_without_a_difference_and_rises_to_one() -> None:
    powers = [inference.power(ncp, 4.0) for ncp in (0.0, 1.0, 2.0, 4.0, 8.0, 30.0)]
    assert powers[0] == pytest.approx(inference.ALPHA, abs=1e-6)
    assert powers == sorted(powers)
    assert powers[-1] == pytest.approx(1)


@pytest.mark.parametrize("df", [2.0, 4.0, 9.0, 29.0])
def test_what_can_be_detected_is_found_with_the_power_that_is_promised(df: float) -> None:
    assert inference.power(inference.detectable(1.0, df), df) == pytest.approx(inference.POWER, abs=1e-3)
    assert inference.detectable(2.5, df) == pytest.approx(2.5 * inference.detectable(1.0, df))


def test_more_pairs_detect_less() -> None:
    spread = [-1.0, 0.0, 1.0]
    found = [compare([spread * copies]).detectable for copies in (1, 2, 4)]
    assert found == sorted(found, reverse=True)


@pytest.mark.parametrize(
    ("p", "n", "unanimous"), [(0.25, 3, True), (0.03125, 6, True), (0.0625, 6, False), (1 / 512, 10, True)]
)
def test_p_of_unanimous_pairs_and_of_one_small_exception(p: float, n: int, unanimous: bool) -> None:
    # With one pair against the rest, and the smallest, the four most extreme patterns of 64 count.
    values = [float(10 + i) for i in range(n)]
    assert sign_flip([values if unanimous else [-0.5, *values[1:]]]) == p


@given(some.lists(some.none() | some.floats(0, 1), max_size=8).flatmap(some.permutations))
@settings(max_examples=50, deadline=None)
def test_holm_is_its_definition_in_any_order(p_values: list[float | None]) -> None:
    known = sorted(p for p in p_values if p is not None)
    # The k-th smallest of m times m - k + 1, no smaller than those before it, at most 1.
    steps = np.minimum(1, np.maximum.accumulate([p * (len(known) - k) for k, p in enumerate(known)] or [0.0]))
    expected = dict(zip(known, steps, strict=False))
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        assert adjusted == (None if p is None else pytest.approx(float(expected[p])))
