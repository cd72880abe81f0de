"""Every statistic against an independent reference: scipy, statsmodels, or counting by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import stats
from statsmodels.stats.multitest import multipletests

from peftlab.report import inference
from peftlab.report.inference import Paired, compare, holm, t_interval
from peftlab.report.sign_flip import sign_flip

DIFFERENCES = [0.5, 2.6, 3.7, -0.4, 1.9]
FEW = some.lists(some.floats(-50, 50).map(lambda x: round(x, 3)), min_size=2, max_size=7)


def test_over_tasks_each_task_counts_alike_however_many_seeds_it_has() -> None:
    # Means are 3 and -1: their mean is 1, not the 0.6 of all five values.
    result = compare([[2.0, 4.0], [-1.0, -1.5, -0.5]])
    assert result.mean == pytest.approx(1.0)
    assert result.p == sign_flip([2 / 4, 4 / 4, -1 / 6, -1.5 / 6, -0.5 / 6])


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


def test_the_effect_is_hedges_g_of_paired_differences() -> None:
    d = np.mean(DIFFERENCES) / np.std(DIFFERENCES, ddof=1)
    j = math.gamma(2) / (math.sqrt(2) * math.gamma(1.5))  # J(4), exactly
    assert j == pytest.approx(1 - 3 / (4 * 4 - 1), abs=0.003)  # Hedges' own approximation
    assert compare([DIFFERENCES]).effect == pytest.approx(d * j)


def test_the_interval_is_scipys_of_the_t_test() -> None:
    reference = stats.ttest_1samp(DIFFERENCES, 0).confidence_interval(0.95)
    assert t_interval([DIFFERENCES]) == pytest.approx((reference.low, reference.high))


def test_over_tasks_the_interval_is_welchs() -> None:
    # Half the difference of two means, one of them negated, is the mean of the two.
    first, second = [1.0, 2.0, 4.0, 3.0], [3.0, 3.5, 5.0, 9.0, 4.0]
    reference = stats.ttest_ind(first, [-value for value in second], equal_var=False).confidence_interval(0.95)
    assert t_interval([first, second]) == pytest.approx((reference.low / 2, reference.high / 2))


def test_wins_ties_and_losses_by_one_decimal() -> None:
    result = compare([[0.04, -0.04, 0.06, -3.0, 2.0]])
    assert (result.wins, result.ties, result.losses) == (2, 2, 1)


@pytest.mark.parametrize(
    ("strata", "given"),
    [
        ([[2.0]], {"n": 1, "p": None, "floor": None, "p_t": None, "interval": None, "effect": None}),
        ([[2.0, 2.0, 2.0]], {"p": 0.25, "p_t": None, "effect": None, "error": None, "interval": None}),
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
    if ours.interval is not None:
        assert theirs.interval == pytest.approx((-ours.interval[1], -ours.interval[0]))
    assert (theirs.p_t is None) == (ours.p_t is None)
    if ours.effect is not None:
        assert theirs.effect == pytest.approx(-ours.effect)
        assert theirs.error == pytest.approx(ours.error)


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
        assert theirs.error == pytest.approx(unit * ours.error)


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


@pytest.mark.parametrize(
    ("p", "n", "unanimous"), [(0.25, 3, True), (0.03125, 6, True), (0.0625, 6, False), (1 / 512, 10, True)]
)
def test_p_of_unanimous_pairs_and_of_one_small_exception(p: float, n: int, unanimous: bool) -> None:
    # With one pair against the rest, and the smallest, the four most extreme patterns of 64 count.
    values = [float(10 + i) for i in range(n)]
    assert sign_flip(values if unanimous else [-0.5, *values[1:]]) == p


@pytest.mark.parametrize("size", [1, 4, 40])
def test_holm_is_statsmodels(size: int) -> None:
    known = np.random.default_rng(size).choice([*np.linspace(0, 0.2, 30), 0.9, 1.0], size=size).tolist()  # ties as well
    p_values = [None, *known[:2], None, *known[2:]]
    adjusted = iter(multipletests(known, method="holm")[1])
    assert holm(p_values) == [None if p is None else pytest.approx(next(adjusted), rel=1e-12) for p in p_values]
