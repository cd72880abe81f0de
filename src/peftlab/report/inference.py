"""Paired statistics for few seeds: what a difference is, how sure it is, and what could have been seen at all.

Everything here is a pure function of differences, which are gains: positive where the first method is better. A
*stratum* is one task; its differences are those of two methods on the same task, backbone, shots, data and seed. Over
several tasks each task counts alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from peftlab.report.power import detectable_shift
from peftlab.report.sign_flip import sign_flip
from peftlab.results.pairs import ALPHA, smallest_p
from peftlab.results.scores import PERCENT

TIE = PERCENT.tie
# How often `t_interval` covers the true mean, in percent, by the number of values; tests/report/test_coverage.py draws.
COVERAGE = {
    "normal": {3: 95, 5: 95, 6: 95, 10: 95},
    "collapses": {3: 94, 5: 92, 6: 91, 10: 90},
    "skewed": {3: 88, 5: 88, 6: 89, 10: 90},
}
INTERVALS = (
    "95 % t intervals. Simulated, they cover the true mean in 95 % of cases where runs spread normally, whatever their "
    "number; where one run in ten collapses (five deviations lower) in {collapses[3]} % with 3 seeds, {collapses[5]} % "
    "with 5, {collapses[6]} % with 6; where runs are as skewed as an exponential in {skewed[3]}, {skewed[5]} and "
    "{skewed[6]} %."
).format(**COVERAGE)

Strata = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Paired:
    """Two methods compared on `n` pairs. None stands for what these pairs cannot give.

    `mean` (the gain of the first over the second) has the standard `error` and the 95 % t `interval`; `effect` is
    Hedges' g of paired differences; `p` is the sign-flip test's, which cannot fall below `floor`; `p_t` is the paired t
    test's.
    """

    n: int
    mean: float
    error: float | None
    interval: tuple[float, float] | None
    effect: float | None
    wins: int
    ties: int
    losses: int
    p: float | None
    floor: float | None
    p_t: float | None


def compare(strata: Strata, tie: float = TIE) -> Paired:
    """Return the comparison over one task's differences, or over several tasks' with equal weight.

    A pair whose runs differ by less than `tie` is neither won nor lost.
    """
    flat = np.concatenate([np.asarray(stratum, dtype=float) for stratum in strata])
    error, df = standard_error(strata)
    mean, testable = _mean(strata), len(flat) > 1
    weights = [1 / (len(stratum) * len(strata)) for stratum in strata for _ in stratum]
    return Paired(
        n=len(flat),
        mean=mean,
        error=error,
        interval=t_interval(strata),
        effect=hedges_g(strata),
        wins=int((flat >= tie).sum()),
        ties=int((np.abs(flat) < tie).sum()),
        losses=int((flat <= -tie).sum()),
        p=sign_flip(flat.tolist(), weights) if testable else None,
        floor=smallest_p(len(flat)) if testable else None,
        p_t=float(2 * special.stdtr(df, -abs(mean) / error)) if error else None,
    )


def t_interval(strata: Strata, level: float = 1 - ALPHA) -> tuple[float, float] | None:
    """Return the t interval of the mean over strata of their means; None with a lone value, or where nothing varies.

    It is as wide as few seeds make it: for normal values it covers their mean at its level with any number of them.
    `COVERAGE` says how often it does where they are not. The bootstrap is no help: of three values its percentiles are
    [min, max], which cover the mean of normal ones in 75 % of samples.
    """
    error, df = standard_error(strata)
    if error is None:
        return None
    mean, reach = _mean(strata), error * float(special.stdtrit(df, (1 + level) / 2))
    return mean - reach, mean + reach


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return Holm's adjusted p-values; None (a comparison that was not testable) is no member of the family.

    The k-th smallest of m counts m - k + 1 times, at least as much as those before it, and at most 1 (Holm 1979).
    """
    # Not statsmodels' multipletests: it collects garbage at each call, half a second in a process that trains.
    known = [place for place, p in enumerate(p_values) if p is not None]
    p = np.array([p_values[place] for place in known], dtype=float)
    order = np.argsort(p)
    adjusted = np.minimum(1, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    found: list[float | None] = [None] * len(p_values)
    for rank, value in zip(order, adjusted, strict=True):
        found[known[rank]] = float(value)
    return found


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


def detectable(result: "Paired", level: float) -> float | None:
    """Return the smallest true difference that the sign-flip test finds with 80 % power at `level`, as pairs vary here.

    None where the pairs are too few for the level, or do not vary.
    """
    shift = None if result.error is None else detectable_shift(result.n, level)
    return None if shift is None or result.error is None else shift * math.sqrt(result.n) * result.error


def _mean(strata: Strata) -> float:
    return float(np.mean([np.mean(stratum) for stratum in strata]))


def _is_nothing(spread: float, strata: Strata) -> bool:
    """Whether a spread is only the rounding of equal numbers."""
    return spread <= 1e-12 * (1 + max(abs(value) for stratum in strata for value in stratum))
