"""What could have been found: the true difference that a test at a level finds with 80 % power."""

import math
from functools import cache

import numpy as np
from scipy import optimize, special
from scipy.stats import qmc

from peftlab.results.pairs import ALPHA

POWER = 0.80
SIMULATED_UP_TO = 16  # pairs: their 2^n subsets are looked at, one by one
MANY = 100  # patterns: so many make the sign-flip test as powerful as the t test
_ROUNDING = 1e-9


@cache
def detectable_shift(n: int, level: float = ALPHA) -> float | None:
    """Return the true difference, in standard deviations, that the sign-flip test of n pairs finds with 80 % power.

    It finds one where p is at most `level`: of m tests under Holm the first has the level ALPHA / m. None where n pairs
    cannot reach it. Differences are normal. Turning the signs of some pairs leaves a sum as extreme where these pairs'
    own sum is no gain; so with k such patterns allowed, a shift is found where it exceeds the k-th largest of minus the
    means of all sets of pairs: samples are drawn. With more than 16 pairs, or 100 such patterns, it is the t test's at
    that level, which is then within five percent of it.
    """
    patterns = math.floor(math.ldexp(level, n - 1) * (1 + _ROUNDING))  # in one tail, the observed one among them
    if patterns < 1:
        return None
    if n > SIMULATED_UP_TO or patterns >= MANY:
        return noncentrality(n - 1.0, math.ldexp(patterns, 1 - n)) / math.sqrt(n)
    members = (np.arange(1, 2**n)[:, None] >> np.arange(n) & 1).astype(np.float32)
    means = members / members.sum(axis=1, keepdims=True)
    draws = special.ndtri(qmc.Sobol(n, rng=0).random(1024 if n <= 12 else 256)).astype(np.float32)
    shifts = [np.partition(means @ -draw, -patterns)[-patterns] for draw in draws]
    return float(np.quantile(shifts, POWER))


@cache
def noncentrality(df: float, level: float = ALPHA) -> float:
    """Return the true difference, in standard errors, that a two-sided t test at `level` finds with 80 % power."""
    return float(optimize.brentq(lambda ncp: power(ncp, df, level) - POWER, 0.1, 1e6))


def power(ncp: float, df: float, level: float = ALPHA) -> float:
    """Return the power of a two-sided t test at `level` for a true difference of `ncp` standard errors.

    The normal tails beyond the critical value, averaged over the chi distribution of the estimated error:
    with one or two degrees of freedom the libraries' noncentral t is NaN where it is needed.
    """
    nodes, weights = _nodes()
    error = np.sqrt(special.chdtri(df, (nodes + 1) / 2) / df) * special.stdtrit(df, 1 - level / 2)
    return float(np.sum(weights / 2 * (special.ndtr(ncp - error) + special.ndtr(-ncp - error))))


@cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(200)
    return nodes, weights
