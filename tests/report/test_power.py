"""What could have stood: the power of the sign-flip test at the level that Holm asks for."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from peftlab.report.inference import compare, detectable
from peftlab.report.power import POWER, detectable_shift, noncentrality, power
from peftlab.report.sign_flip import sign_flip
from peftlab.results.pairs import ALPHA

STANDARD = [-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0]


@pytest.mark.parametrize(("ncp", "df"), [(0.0, 2.0), (2.0, 2.0), (3.5, 4.0), (2.8, 10.7)])
@pytest.mark.parametrize("level", [0.05, 0.005])
def test_the_t_tests_power_is_statsmodels(ncp: float, df: float, level: float) -> None:
    assert power(ncp, df, level) == pytest.approx(TTestPower().power(ncp, nobs=1, alpha=level, df=df), abs=1e-4)


@pytest.mark.parametrize("n", [3, 5, 12])
def test_what_a_t_test_detects_is_statsmodels(n: int) -> None:
    effect = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert noncentrality(n - 1.0) / math.sqrt(n) == pytest.approx(effect, rel=1e-3)


def test_with_one_degree_of_freedom_it_is_drawn() -> None:
    # |Z + ncp| / |Z'| > 12.706; statsmodels gives NaN here.
    z = np.random.default_rng(0).normal(size=(2, 200_000))
    assert np.mean(np.abs(z[0] + noncentrality(1.0)) > 12.706 * np.abs(z[1])) == pytest.approx(POWER, abs=0.005)


def test_the_power_is_the_level_without_a_difference_and_rises_to_one() -> None:
    powers = [power(ncp, 4.0) for ncp in (0.0, 1.0, 2.0, 4.0, 8.0, 30.0)]
    assert powers[0] == pytest.approx(ALPHA, abs=1e-6)
    assert powers == sorted(powers)
    assert powers[-1] == pytest.approx(1)


@pytest.mark.parametrize(("n", "tests"), [(6, 1), (8, 5), (10, 20)])
def test_where_only_unanimous_pairs_can_stand_it_is_the_chance_of_all_alike(n: int, tests: int) -> None:
    # P(all n gains are positive) = Phi(shift)^n.
    shift = detectable_shift(n, ALPHA / tests)
    assert shift == pytest.approx(stats.norm.ppf(POWER ** (1 / n)), rel=0.02)


@pytest.mark.parametrize(("n", "tests"), [(8, 1), (10, 6), (13, 66), (20, 66)])
def test_that_difference_stands_in_four_of_five_studies(n: int, tests: int) -> None:
    shift = detectable_shift(n, ALPHA / tests)
    assert shift is not None
    samples = np.random.default_rng(n).normal(shift, 1.0, size=(1_500, n))
    stood = np.mean([sign_flip(sample.tolist()) <= ALPHA / tests for sample in samples])
    assert stood == pytest.approx(POWER, abs=0.05)


def test_more_tests_ask_for_a_larger_difference_and_too_few_pairs_for_the_impossible() -> None:
    found = [detectable_shift(9, ALPHA / tests) for tests in (1, 2, 5, 10)]
    assert found == sorted(found)
    assert [detectable_shift(n, ALPHA) for n in (2, 3, 5)] == [None, None, None]
    assert detectable_shift(6, ALPHA / 2) is None


def test_it_is_shown_in_the_unit_of_the_scores() -> None:
    result = compare([[3 * value for value in STANDARD]])
    assert detectable(result, ALPHA) == pytest.approx(3 * np.std(STANDARD, ddof=1) * detectable_shift(8, ALPHA))
    assert detectable(compare([[2.0, 2.0, 2.0]]), ALPHA) is None
