"""How alike two measurements of the same heads are: rank correlations and shared tops, layer by layer."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from scipy import stats

from peftlab.report.figures.hifi.selections import Heads

HeadMetric = Literal["richness", "correlation"]
STRONGEST = 0.1  # share of the pairs of heads that counts as strongly correlated


@dataclass(frozen=True)
class RankAgreement:
    """Means over layers of Spearman's and Kendall's rank correlation (tau-b), and the lowest Spearman of any layer.

    `top` is the share of the largest values that both have in common, `chosen` that of the chosen heads. None where
    a layer of one of them does not vary, or no head is chosen.
    """

    spearman: float | None
    kendall: float | None
    lowest: float | None
    top: float | None
    chosen: float | None


def between_seeds(heads: Heads, metric: HeadMetric) -> RankAgreement | None:
    """Return the mean agreement over all pairs of a method's own seeds; None for a lone seed."""
    runs = range(len(heads.seeds))
    return _mean([_compare(heads, a, heads, b, metric) for a, b in combinations(runs, 2)])


def against(ours: Heads, theirs: Heads, metric: HeadMetric) -> RankAgreement | None:
    """Return the mean agreement over the seeds that both have, run by run; None where they share none."""
    seeds = [seed for seed in ours.seeds if seed in theirs.seeds]
    return _mean([_compare(ours, ours.seeds.index(s), theirs, theirs.seeds.index(s), metric) for s in seeds])


def values_of(heads: Heads, metric: HeadMetric) -> np.ndarray:
    """Return what is ranked: the richness of each head [S, L, H], or the correlation of each two [S, L, pairs]."""
    return heads.richness if metric == "richness" else heads.pairs


def top_count(heads: Heads, metric: HeadMetric) -> int:
    """Return how many values are a layer's top: as many heads as are chosen, or the strongest tenth of the pairs."""
    if metric == "richness":
        return max(int(heads.chosen.sum(axis=-1).max()), 1)
    return max(round(STRONGEST * heads.pairs.shape[-1]), 1)


def overlap(first: np.ndarray, second: np.ndarray) -> float | None:
    """Return the share of true places that two masks have in common: 2 |A ∩ B| / (|A| + |B|); None for none."""
    total = first.sum() + second.sum()
    return float(2 * (first & second).sum() / total) if total else None


def top(values: np.ndarray, count: int) -> np.ndarray:
    """Return which values [..., N] are among the `count` largest of their row; ties go to the lower index."""
    found = np.zeros(values.shape, dtype=bool)
    np.put_along_axis(found, np.argsort(-values, axis=-1, kind="stable")[..., :count], True, axis=-1)
    return found


def _compare(ours: Heads, our_run: int, theirs: Heads, their_run: int, metric: HeadMetric) -> RankAgreement:
    first, second = values_of(ours, metric)[our_run], values_of(theirs, metric)[their_run]
    layers = [(a, b) for a, b in zip(first, second, strict=True) if np.ptp(a) > 0 and np.ptp(b) > 0]
    spearman = [float(stats.spearmanr(a, b).statistic) for a, b in layers]
    kendall = [float(stats.kendalltau(a, b).statistic) for a, b in layers]
    count = top_count(ours, metric)
    return RankAgreement(
        float(np.mean(spearman)) if layers else None,
        float(np.mean(kendall)) if layers else None,
        min(spearman, default=None),
        overlap(top(first, count), top(second, count)),
        overlap(ours.chosen[our_run], theirs.chosen[their_run]),
    )


def _mean(found: list[RankAgreement]) -> RankAgreement | None:
    if not found:
        return None
    averaged = ("spearman", "kendall", "top", "chosen")
    lowest = min((one.lowest for one in found if one.lowest is not None), default=None)
    return RankAgreement(lowest=lowest, **{name: _mean_known(getattr(one, name) for one in found) for name in averaged})


def _mean_known(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
