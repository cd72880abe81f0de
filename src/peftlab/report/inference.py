"""Paired statistics for few seeds: what a difference is, how sure it is, and what could have been seen at all.

Everything here is a pure function of differences, which are gains: positive where the first method is better. A
*stratum* is one task; its differences are those of two methods on the same task, backbone, shots, data and seed. Over
several tasks each task counts alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
from scipy import optimize, special
from statsmodels.stats.multitest import multipletests

from peftlab.results.scores import PERCENT

ALPHA = 0.05
POWER = 0.80
TIE = PERCENT.tie
RESAMPLES = 9_999
EXACT_UP_TO = 16  # pairs: 2^16 sign patterns are enumerated, beyond that as many are drawn

Strata = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Paired:
    """Two methods compared on `n` pairs. None stands for what these pairs cannot give.

    `mean` (the gain of the first over the second) has the 95 % bootstrap `interval`; `effect` is Hedges' g of paired
    differences; `p` is the sign-flip test's, which cannot fall below `floor`; `p_t` is the paired t test's;
    `detectable` is the smallest true difference that one such t test finds with 80 % power.
    """

    n: int
    mean: float
    interval: tuple[float, float] | None
    effect: float | None
    wins: int
    ties: int
    losses: int
    p: float | None
    floor: float | None
    p_t: float | None
    detectable: float | None


def compare(strata: Strata, tie: float = TIE) -> Paired:
    """Return the comparison over one task's differences, or over several tasks' with equal weight.

    A pair whose runs differ by less than `tie` is neither won nor lost.
    """
    flat = np.concatenate([np.asarray(stratum, dtype=float) for stratum in strata])
    error, df = standard_error(strata)
    mean = float(np.mean([np.mean(stratum) for stratum in strata]))
    testable = len(flat) > 1
    return Paired(
        n=len(flat),
        mean=mean,
        interval=bootstrap_interval(strata),
        effect=hedges_g(strata),
        wins=int((flat >= tie).sum()),
        ties=int((np.abs(flat) < tie).sum()),
        losses=int((flat <= -tie).sum()),
        p=sign_flip(strata) if testable else None,
        floor=smallest_p(len(flat)) if testable else None,
        p_t=float(2 * special.stdtr(df, -abs(mean) / error)) if error else None,
        detectable=detectable(error, df) if error else None,
    )


def bootstrap_interval(strata: Strata, level: float = 1 - ALPHA) -> tuple[float, float] | None:
    """Return the percentile bootstrap interval of the mean over strata of their means; None with a lone value.

    Seeds are drawn anew within each stratum. Percentile and not BCa: BCa's acceleration is a third moment, which
    three to five values do not hold. Neither repairs a small sample: for three normal values the interval is
    [min, max] and covers their mean in 75 % of samples, not 95 %; for five in about 83 %.
    """
    if any(len(stratum) < 2 for stratum in strata):
        return None
    samples = [np.asarray(stratum, dtype=float) for stratum in strata]
    rng = np.random.default_rng(0)
    drawn = [s[rng.integers(len(s), size=(RESAMPLES, len(s)))].mean(axis=1) for s in samples]
    low, high = np.quantile(np.mean(drawn, axis=0), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def sign_flip(strata: Strata) -> float:
    """Return the two-sided p of the sign-flip (paired permutation) test of no difference on any pair.

    Under the null each difference is as likely with the other sign. The statistic is the mean over strata of
    their means. All 2^n patterns are counted up to n = 16; beyond, 2^16 random ones, with the observed
    pattern among them, so that p is never 0 (Phipson & Smyth 2010).
    """
    weighted = np.concatenate([np.asarray(s, dtype=float) / (len(s) * len(strata)) for s in strata])
    observed = abs(weighted.sum())
    sums = np.abs(_sign_patterns(len(weighted)).astype(float) @ weighted)
    return float(np.mean(sums >= observed - 1e-9 * (1 + observed)))


@lru_cache(maxsize=4)  # the comparisons of a table have few different numbers of pairs
def _sign_patterns(n: int) -> np.ndarray:
    """Return patterns of n signs, a row each: all there are, or random ones and first the observed."""
    if n <= EXACT_UP_TO:
        return (1 - 2 * (np.arange(2**n)[:, None] >> np.arange(n) & 1)).astype(np.int8)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(2**EXACT_UP_TO, n)).astype(np.int8)
    signs[0] = 1
    return signs


def smallest_p(n: int) -> float:
    """Return the p that the sign-flip test cannot fall below with n pairs: of its 2^n patterns two are extreme."""
    return 2.0 / 2.0**n if n <= EXACT_UP_TO else 0.5**EXACT_UP_TO


def pairs_needed(tests: int, alpha: float = ALPHA) -> int:
    """Return how many pairs the sign-flip test needs to reach `alpha` as the smallest of `tests` under Holm."""
    return math.ceil(math.log2(2 * max(tests, 1) / alpha))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's adjusted p-values; None (a comparison that was not testable) is no member of the family."""
    known = [p for p in p_values if p is not None]
    if not known:
        return list(p_values)
    adjusted = iter(multipletests(known, method="holm")[1])
    return [None if p is None else float(next(adjusted)) for p in p_values]


def hedges_g(strata: Strata) -> float | None:
    """Return Hedges' g of paired differences: their mean over their standard deviation, times J(df).

    J = Γ(df/2) / (√(df/2) Γ((df-1)/2)) takes out the upward bias of small samples (0.80 with 4 pairs). Over
    several tasks the deviation is the root of the mean within-task variance, df the sum of n - 1. None where
    the differences do not vary or df < 2.
    """
    df = sum(len(stratum) - 1 for stratum in strata)
    if df < 2 or any(len(stratum) < 2 for stratum in strata):
        return None
    spread = math.sqrt(np.mean([np.var(stratum, ddof=1) for stratum in strata]))
    if _is_nothing(spread, strata):
        return None
    correction = math.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / math.sqrt(df / 2)
    return float(np.mean([np.mean(stratum) for stratum in strata]) / spread * correction)


def standard_error(strata: Strata) -> tuple[float | None, float]:
    """Return the standard error of the mean of stratum means, and its degrees of freedom (Welch-Satterthwaite).

    For one stratum this is the paired t test's s/√n and n - 1. None where a stratum has one pair or nothing varies.
    """
    if any(len(stratum) < 2 for stratum in strata):
        return None, 0.0
    parts = [float(np.var(stratum, ddof=1)) / len(stratum) for stratum in strata]
    total = sum(parts)
    if _is_nothing(math.sqrt(total), strata):
        return None, 0.0
    df = total**2 / sum(part**2 / (len(stratum) - 1) for part, stratum in zip(parts, strata, strict=True))
    return math.sqrt(total) / len(strata), df


def detectable(error: float, df: float) -> float:
    """Return the smallest true difference that a two-sided t test at 5 % finds with 80 % power."""
    return error * _noncentrality(round(df, 2))


@cache
def _noncentrality(df: float) -> float:
    return float(optimize.brentq(lambda ncp: power(ncp, df) - POWER, 1.0, 1_000.0))


def power(ncp: float, df: float) -> float:
    """Return the power of a two-sided t test at 5 % for a true difference of `ncp` standard errors.

    The normal tails beyond the critical value, averaged over the chi distribution of the estimated error:
    with one or two degrees of freedom the libraries' noncentral t is NaN where it is needed.
    """
    nodes, weights = _nodes()
    error = np.sqrt(special.chdtri(df, (nodes + 1) / 2) / df) * special.stdtrit(df, 1 - ALPHA / 2)
    return float(np.sum(weights / 2 * (special.ndtr(ncp - error) + special.ndtr(-ncp - error))))


@cache
def _nodes() -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(200)
    return nodes, weights


def _is_nothing(spread: float, strata: Strata) -> bool:
    """Whether a spread is only the rounding of equal numbers."""
    return spread <= 1e-12 * (1 + max(abs(value) for stratum in strata for value in stratum))
