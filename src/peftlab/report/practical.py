"""How large a difference is, and whether it is none in practice: of runs, and of paired differences.

As in `inference`, a *stratum* is one task, and each counts alike. A *rope* (region of practical equivalence) is the
difference below which two methods are the same to a user.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from peftlab.report.inference import Strata, standard_error

RESAMPLED = 2_000
SAMPLES = 50_000
PRIOR = 0.5  # the weight of one difference of 0 that nobody saw (Benavoli et al. 2014)


@dataclass(frozen=True)
class Posterior:
    """The probabilities that the first method is behind by more than the rope, equal within it, or ahead by more."""

    behind: float
    equal: float
    ahead: float


def interquartile_mean(strata: Strata) -> float:
    """Return the mean of the middle half of all runs of all tasks (Agarwal et al. 2021; rliable's `aggregate_iqm`)."""
    return float(stats.trim_mean(np.concatenate([np.asarray(stratum, float) for stratum in strata]), 0.25))


def interquartile_interval(strata: Strata, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of `interquartile_mean`, runs drawn again within each task (rliable's)."""
    generator = np.random.default_rng(0)  # no part of any run: the same report from the same records
    drawn = np.concatenate([_again(generator, stratum) for stratum in strata], axis=1)
    return _percentiles(stats.trim_mean(drawn, 0.25, axis=1), level)


def improvement(first: Strata, second: Strata) -> float:
    """Return the probability of improvement: that a run of `first` scores higher than one of `second` on the same task.

    The mean over tasks of Mann-Whitney's U over the number of pairs of runs, ties half (Agarwal et al. 2021).
    """
    return float(np.mean([_higher(np.asarray(a), np.asarray(b)) for a, b in zip(first, second, strict=True)]))


def improvement_interval(first: Strata, second: Strata, level: float = 0.95) -> tuple[float, float] | None:
    """Return the percentile interval of `improvement`, runs of each method drawn again within each task (rliable's).

    None where a method has a lone run on some task: drawn again it is the same.
    """
    if min(map(len, (*first, *second))) < 2:
        return None
    generator = np.random.default_rng(0)
    draws = [
        _higher(_again(generator, a), _again(generator, b))  # [RESAMPLED] a task
        for a, b in zip(first, second, strict=True)
    ]
    return _percentiles(np.mean(draws, axis=0), level)


def student_posterior(strata: Strata, rope: float) -> Posterior | None:
    """Return the posterior of the mean difference on these tasks, Student's t around the mean (Benavoli et al. 2017).

    The Bayesian t test with a flat prior, without the correlation that folds of a cross-validation have: seeds are no
    folds. None where nothing varies.
    """
    error, df = standard_error(strata)
    if error is None:
        return None
    mean = float(np.mean([np.mean(stratum) for stratum in strata]))
    behind, ahead = (float(special.stdtr(df, (-rope - side * mean) / error)) for side in (1, -1))
    return Posterior(behind, 1 - behind - ahead, ahead)


def signed_rank_posterior(differences: Sequence[float], rope: float, samples: int = SAMPLES) -> Posterior:
    """Return the Bayesian signed-rank test's posterior, over tasks as the sample (Benavoli et al. 2014).

    Of two differences, drawn by Dirichlet weights with a difference of 0 at the `PRIOR`'s weight among them, the mean
    lies below, within or above the rope; counted is in which share of the weights' draws either is the likeliest.
    """
    values = np.array([0.0, *differences])
    sums = values[:, None] + values
    weights = np.random.default_rng(0).dirichlet([PRIOR, *[1.0] * len(differences)], samples)
    ahead, behind = ((weights @ _beyond(side * sums, 2 * rope) * weights).sum(axis=1) for side in (1, -1))
    likeliest = np.argmax([behind, 1 - behind - ahead, ahead], axis=0)
    shares = np.bincount(likeliest, minlength=3) / samples
    return Posterior(*map(float, shares))


def equivalence(strata: Strata, rope: float) -> float | None:
    """Return the p of two one-sided t tests (Schuirmann 1987): that the mean is beyond the rope, on either side.

    Below 5 % the methods are equal within the rope. None where nothing varies.
    """
    posterior = student_posterior(strata, rope)
    # The tails of Student's t at both ends of the rope, whether they are read as a posterior or as p-values.
    return None if posterior is None else max(posterior.behind, posterior.ahead)


def _higher(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the share of pairs [..., N], [..., M] in which the first is higher, ties half, [...]."""
    difference = first[..., :, None] - second[..., None, :]
    return np.asarray(((difference > 0) + 0.5 * (difference == 0)).mean(axis=(-2, -1)))


def _again(generator: np.random.Generator, stratum: Sequence[float]) -> np.ndarray:
    """Return a stratum's runs drawn with replacement, [RESAMPLED, n]."""
    return np.asarray(stratum, float)[generator.integers(len(stratum), size=(RESAMPLED, len(stratum)))]


def _beyond(values: np.ndarray, bound: float) -> np.ndarray:
    return (values > bound) + 0.5 * (values == bound)


def _percentiles(drawn: np.ndarray, level: float) -> tuple[float, float]:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
