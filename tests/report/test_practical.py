"""Sizes and practical equality: numbers that rliable 1.2.0 and baycomp 1.0.3 gave, and scipy."""

import numpy as np
import pytest
from scipy import stats

from peftlab.report.practical import (
    equivalence,
    improvement,
    improvement_interval,
    interquartile_interval,
    interquartile_mean,
    signed_rank_posterior,
    student_posterior,
)

# Three tasks, six runs each.
FIRST = [
    [81.2, 80.1, 70.5, 70.8, 69.5, 78.8],
    [51.9, 48.3, 60.6, 58.6, 57.4, 50.2],
    [3.6, -1.3, -2.5, -1.9, -1.5, 4.4],
]
SECOND = [
    [79.0, 66.9, 68.6, 66.3, 70.5, 66.9],
    [52.5, 54.8, 52.9, 55.5, 56.6, 53.8],
    [1.6, -0.6, -0.6, -2.7, -2.1, -1.3],
]
GAINS = [1.3, -0.4, 0.2, 0.9, 2.1, -0.1, 0.6]


@pytest.mark.parametrize(("runs", "mean", "low", "high"), [(FIRST, 47.5, 45.03, 49.82), (SECOND, 46.03, 45.25, 46.84)])
def test_the_interquartile_mean_and_its_interval_are_rliables(runs, mean, low, high) -> None:
    assert interquartile_mean(runs) == pytest.approx(mean)
    assert interquartile_interval(runs) == pytest.approx((low, high), abs=0.15)  # 2,000 draws against its 50,000


def test_the_probability_of_improvement_and_its_interval_are_rliables() -> None:
    assert improvement(FIRST, SECOND) == pytest.approx(0.62962963)
    assert improvement_interval(FIRST, SECOND) == pytest.approx((0.42592593, 0.81944444), abs=0.02)


def test_tasks_may_have_other_numbers_of_runs_and_equal_runs_count_half() -> None:
    assert improvement([[1.0, 1.0], [2.0]], [[1.0], [0.0, 1.0, 3.0]]) == pytest.approx((0.5 + 2 / 3) / 2)
    assert interquartile_mean([[1.0, 2.0], [3.0, 100.0]]) == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("rope", "theirs"),
    [(0.5, (0.02617385889845198, 0.3509566662242982, 0.6228694748772498)),
     (1.0, (0.0067675368437694495, 0.7425012985267017, 0.25073116462952894))],
)  # fmt: skip
def test_the_correlated_t_posterior_is_baycomps(rope, theirs) -> None:
    # baycomp takes differences for folds, which overlap: its variance is s² (1/n + 1/(n - 1)). Here they spread more.
    mean, wider = np.mean(GAINS), np.sqrt(1 + 7 / 6)
    found = student_posterior([[mean + wider * (value - mean) for value in GAINS]], rope)
    assert found is not None
    assert (found.behind, found.equal, found.ahead) == pytest.approx(theirs)


@pytest.mark.parametrize(
    ("gains", "rope", "theirs"),
    [(GAINS, 0.5, (0.0, 0.430765, 0.569235)), (GAINS, 1.0, (0.0, 0.9082225, 0.0917775)),
     (GAINS[:4], 0.5, (0.0, 0.59288, 0.40712)), (GAINS[:4], 1.0, (0.0, 0.947025, 0.052975))],
)  # fmt: skip
def test_the_signed_rank_posterior_is_baycomps(gains, rope, theirs) -> None:
    found = signed_rank_posterior(gains, rope)
    assert (found.behind, found.equal, found.ahead) == pytest.approx(theirs, abs=0.008)  # drawn, there and here


@pytest.mark.parametrize("rope", [0.5, 1.0, 3.0])
def test_equivalence_is_two_of_scipys_one_sided_tests(rope: float) -> None:
    above = stats.ttest_1samp(GAINS, -rope, alternative="greater").pvalue
    below = stats.ttest_1samp(GAINS, rope, alternative="less").pvalue
    assert equivalence([GAINS], rope) == pytest.approx(max(above, below))


def test_over_tasks_the_tests_are_those_of_the_mean_of_means() -> None:
    # Tasks of the same variance and size: Welch's degrees of freedom are those of all.
    other = [value + 2 for value in GAINS]
    mean, error = np.mean(GAINS) + 1, np.std(GAINS, ddof=1) / np.sqrt(14)
    assert equivalence([GAINS, other], 3.0) == pytest.approx(stats.t.sf((3 - mean) / error, 12))


def test_where_nothing_varies_nothing_is_known() -> None:
    assert improvement_interval([[1.0], [2.0, 3.0]], [[0.0, 1.0], [2.0, 3.0]]) is None
    assert equivalence([[0.2, 0.2, 0.2]], 1.0) is None
    assert student_posterior([[0.3]], 1.0) is None
