"""How good the best of k trials of a search is, with a confidence band that holds with few trials: the tuning curve.

For trials whose scores are drawn independently from a distribution function F, the best of k has F^k. The curve is its
median, c(k) = inf {y : F(y) >= 0.5^(1/k)} (Lourie, Cho and He, 2024, "Show Your Work with Confidence", arXiv
2311.09480; the mean best of k, which a rescaled metric changes, is that of Dodge et al., 2019). The estimate puts the
empirical F in: a V-statistic, as if k trials were drawn from those seen with replacement.

The band is that of their `ld_highest_density`. F of the i-th of n sorted scores is Beta(i, n + 1 - i) distributed
whatever F is; each gets the shortest interval of one probability p, and p is the one at which all n hold together
(Learned-Miller and DeStefano, 2008). They find p by simulation, here it is exact. So F lies within the band everywhere
in `level` of all searches (in more, where scores tie), and hence c(k) for all k at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import optimize, special

TINY = 1e-12  # what rounding does to a probability


@dataclass(frozen=True)
class Best:
    """The median best of `trials`, as scores, and the ends of its band: `low` is the worse one.

    An end at the metric's bound says that the trials do not limit it.
    """

    trials: int
    median: float
    low: float
    high: float


def median_best(
    scores: Sequence[float], bounds: tuple[float, float], budgets: Sequence[int], level: float
) -> list[Best]:
    """Return the median best of each number of trials, for scores of which the higher is the better.

    Args:
        scores: of the trials, one each, two at least.
        bounds: the least and the greatest score that the metric can have; infinite where it has none.
        budgets: the numbers of trials.
        level: the probability with which the band holds everywhere.
    """
    ordered = sorted(scores)
    lower, upper = band(len(ordered), level)
    empirical = np.arange(1, len(ordered) + 1) / len(ordered)
    found = []
    for budget in budgets:
        needed = 0.5 ** (1 / budget) - TINY
        # Where the greatest F of the band passes, its least quantile lies; below the first score that F is upper[0].
        low = int(np.argmax(np.append(upper, 1.0) >= needed))
        high = int(np.argmax(np.append(lower, 1.0) >= needed))
        found.append(
            Best(
                budget,
                median=ordered[int(np.argmax(empirical >= needed))],
                low=[bounds[0], *ordered][low],
                high=[*ordered, bounds[1]][high],
            )
        )
    return found


@cache
def band(n: int, level: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest F of each of n sorted scores, [n] each, that hold together at `level`."""

    def excess(probability: float) -> float:
        return coverage(*_intervals(n, probability)) - level

    # One interval holds more often than all of them, and by Bonferroni's inequality the last value is more than enough.
    enough = 1 - (1 - level) / (2 * n)
    probability = optimize.brentq(excess, level, enough, xtol=TINY) if n > 1 else level
    return _intervals(n, probability)


def trials_needed(budget: int, level: float) -> int:
    """Return how many trials limit the median best of `budget` from above: fewer leave it at the metric's bound."""
    needed = 0.5 ** (1 / budget) - TINY
    too_few, enough = 1, 2
    while band(enough, level)[0][-1] < needed:
        too_few, enough = enough, 2 * enough
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        too_few, enough = (middle, enough) if band(middle, level)[0][-1] < needed else (too_few, middle)
    return enough


def coverage(lower: np.ndarray, upper: np.ndarray) -> float:
    """Return the probability that each of n sorted uniform numbers lies within its interval, `lower` to `upper` [n].

    How many numbers lie below a point is a Markov chain over the sorted ends: from m of n on, each of the others falls
    before the next point with the same probability. At upper[i] there must be more than i, at lower[i] at most i.
    """
    n = len(lower)
    below = np.arange(n + 1)
    falling, left = below[None, :] - below[:, None], n - below[None, :]  # of a move from m (rows) to others (columns)
    possible = np.maximum(falling, 0)
    ways = np.where(falling >= 0, special.gammaln(n - below + 1.0)[:, None] - special.gammaln(possible + 1.0), -np.inf)
    ways -= special.gammaln(left + 1.0)
    ends = sorted([(end, i, True) for i, end in enumerate(upper)] + [(end, i, False) for i, end in enumerate(lower)])
    chances, last = (below == 0).astype(float), 0.0
    for end, i, is_upper in ends:
        step = min(max((end - last) / (1 - last), 0.0), 1.0) if last < 1 else 0.0
        chances = chances @ np.exp(ways + special.xlogy(possible, step) + special.xlog1py(left, -step))
        chances[(below <= i) if is_upper else (below > i)] = 0.0
        last = end
    return float(chances.sum())


def _intervals(n: int, probability: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the shortest interval of a probability for Beta(i, n + 1 - i), i = 1 to n."""
    ends = [_shortest(i, n + 1 - i, probability) for i in range(1, n + 1)]
    return np.array([low for low, _ in ends]), np.array([high for _, high in ends])


def _shortest(a: int, b: int, probability: float) -> tuple[float, float]:
    if a == 1:  # the density falls from 0 on
        return 0.0, float(special.betaincinv(a, b, probability))
    if b == 1:
        return float(special.betaincinv(a, b, 1 - probability)), 1.0

    def ends(left: float) -> tuple[float, float]:
        return float(special.betaincinv(a, b, left)), float(special.betaincinv(a, b, left + probability))

    def difference(left: float) -> float:  # of the logarithms of the densities at both ends
        low, high = ends(left)
        density = [special.xlogy(a - 1, y) + special.xlog1py(b - 1, -y) for y in (low, high)]
        return float(np.clip(density[0], -1e9, None) - np.clip(density[1], -1e9, None))

    return ends(float(optimize.brentq(difference, 0.0, 1 - probability, xtol=TINY)))
