"""How often the 95 % intervals cover the truth: simulated, and the same that is printed beside them."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from scipy import special, stats

from peftlab.deployment.paired import median_interval
from peftlab.report.inference import COVERAGE, INTERVALS, t_interval

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
SAMPLES = 100_000


def collapsing(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    return rng.normal(size=size) - 5.0 * (rng.random(size) < 0.1)


SPREADS: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, size: rng.normal(size=size), 0.0),
    "collapses": (collapsing, -0.5),
    "skewed": (lambda rng, size: rng.exponential(size=size), 1.0),
}


def covered(samples: np.ndarray, truth: float) -> float:
    """The share of samples [S, n] whose t interval covers the truth, all at once."""
    n = samples.shape[1]
    reach = special.stdtrit(n - 1, 0.975) * samples.std(axis=1, ddof=1) / np.sqrt(n)
    return float(np.mean(np.abs(samples.mean(axis=1) - truth) <= reach))


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("n", [3, 5, 6, 10])
def test_intervals_cover_the_mean_as_often_as_is_printed(spread: str, n: int) -> None:
    draw, truth = SPREADS[spread]
    samples = draw(np.random.default_rng(n), (SAMPLES, n))
    assert 100 * covered(samples, truth) == pytest.approx(COVERAGE[spread][n], abs=0.6)
    # The samples' intervals are those that are printed.
    low, high = t_interval([samples[0].tolist()]) or (0.0, 0.0)
    assert (low <= samples[0].mean() <= high, covered(samples[:1], truth)) == (True, float(low <= truth <= high))


def test_what_is_printed_says_so() -> None:
    told = " ".join(INTERVALS.split())
    assert "95 % of cases where runs spread normally" in told
    assert "in 94 % with 3 seeds, 92 % with 5, 91 % with 6" in told
    assert "exponential in 88, 88 and 89 %" in told


def of_tasks(rng: np.random.Generator, deviations: Sequence[float], seeds: int) -> list[list[float]]:
    return [rng.normal(0.0, deviation, size=seeds).tolist() for deviation in deviations]


@pytest.mark.parametrize(("deviations", "seeds"), [((1, 1, 1), 3), ((1, 2, 8), 3), ((1, 1, 4, 4), 6)])
def test_over_tasks_they_cover_it_as_well_however_the_tasks_spread(deviations: tuple[float, ...], seeds: int) -> None:
    rng = np.random.default_rng(7)
    found = [t_interval(of_tasks(rng, deviations, seeds)) for _ in range(2_000)]
    share = np.mean([low <= 0 <= high for low, high in filter(None, found)])
    assert 0.94 <= share <= 0.985


@pytest.mark.parametrize("n", [20, 100])
def test_the_interval_of_a_delay_covers_its_median_whatever_the_distribution(n: int) -> None:
    rng = np.random.default_rng(n)
    samples = rng.lognormal(0.0, 2.0, size=(3_000, n))  # its median is 1
    share = np.mean([low <= 1 <= high for low, high in map(median_interval, samples)])
    outer = stats.binom.ppf(0.025, n, 0.5)
    assert share == pytest.approx(1 - 2 * stats.binom.cdf(outer - 1, n, 0.5), abs=0.012)
    assert share >= 0.94
