"""The median best of so many trials and its exact band, against opda 0.8.0 and by hand."""

import numpy as np
import pytest

from peftlab.results.best_of import band, coverage, median_best, trials_needed

# EmpiricalDistribution.confidence_bands(scores, level, 0, 100) of opda 0.8.0 (its `ld_highest_density`), with a million
# draws of its simulation, and quantile_tuning_curve at BUDGETS: the band's lower F, then the median best and its ends.
BUDGETS = (1, 2, 3, 5, 10)
NINETEEN = [35.8, 49.2, 52.4, 55.9, 58.5, 59.8, 68.2, 69.1, 69.9, 71.3]
NINETEEN += [72.3, 73.5, 76.3, 77.7, 78.1, 87.4, 88.3, 88.6, 96.4]
NINETEEN_LOWER = [0, 0.0004, 0.0068, 0.0218, 0.0432, 0.0698, 0.1005, 0.1349, 0.1727, 0.2136]
NINETEEN_LOWER += [0.2576, 0.3047, 0.3551, 0.4089, 0.4667, 0.5289, 0.5966, 0.6713, 0.7592]
OPDA = [
    (0.95, [47.5, 65.2], [0, 0.158], [47.5, 65.2, 65.2, 65.2, 65.2], [0, 0, 0, 47.5, 47.5], [100] * 5),
    (
        0.95,
        [61.4, 70.3, 77.1, 82.3, 88.7],
        [0, 0.0096, 0.0891, 0.23, 0.4152],
        [77.1, 82.3, 82.3, 88.7, 88.7],
        [0, 61.4, 70.3, 70.3, 77.1],
        [100] * 5,
    ),
    (
        0.99,
        [37.4, 42.7, 53.7, 53.9, 54.8, 68.9, 81.8, 84.8, 90.4, 91.0],
        [0, 0.0003, 0.0098, 0.0366, 0.0794, 0.1364, 0.207, 0.2913, 0.391, 0.518],
        [54.8, 84.8, 84.8, 90.4, 91.0],
        [37.4, 42.7, 53.9, 54.8, 68.9],
        [91.0, 100, 100, 100, 100],
    ),
    (
        0.95,
        NINETEEN,
        NINETEEN_LOWER,
        [71.3, 77.7, 87.4, 88.3, 88.6],
        [55.9, 69.1, 71.3, 73.5, 77.7],
        [87.4, 96.4, 100, 100, 100],
    ),
]


@pytest.mark.parametrize(("level", "scores", "lower", "median", "low", "high"), OPDA, ids=lambda of: "")
def test_curve_and_band_are_those_of_opda(level, scores, lower, median, low, high) -> None:
    found = median_best(scores[::-1], (0, 100), BUDGETS, level)
    assert [(of.median, of.low, of.high) for of in found] == list(zip(median, low, high, strict=True))
    least, greatest = band(len(scores), level)
    assert least == pytest.approx(lower, abs=1e-3)  # theirs is simulated
    assert greatest == pytest.approx(1 - least[::-1])


def test_of_two_trials_the_band_is_known_in_closed_form() -> None:
    # Each end has half of the 5 %: the greater of two is below 0.025^(1/2) with probability 0.025.
    assert band(2, 0.95)[0] == pytest.approx([0, 0.025**0.5])
    assert coverage(*band(2, 0.95)) == pytest.approx(0.95)


def test_the_band_holds_as_often_as_it_says() -> None:
    lower, upper = band(7, 0.9)
    drawn = np.sort(np.random.default_rng(0).random((200_000, 7)), axis=1)
    assert ((lower <= drawn) & (drawn <= upper)).all(axis=1).mean() == pytest.approx(0.9, abs=0.003)


def test_so_many_trials_limit_the_best_from_above_and_one_less_does_not() -> None:
    assert trials_needed(1, 0.95) == 7
    scores = [float(score) for score in range(7)]
    assert [median_best(scores[:n], (0, 100), [1], 0.95)[0].high for n in (6, 7)] == [100, 6]
