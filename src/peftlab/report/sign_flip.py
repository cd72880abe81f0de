"""The exact sign-flip (paired permutation) test, by counting.

Of n differences each of the 2^n patterns of signs is as likely where there is no difference. The statistic is the
absolute value of their weighted sum; p is the share of patterns whose statistic is no smaller than the observed.
"""

from collections.abc import Sequence

import numpy as np

COUNTED_UP_TO = 30  # pairs; beyond, differences are rounded until p is known this well:
EXCESS = 0.02
_CELLS = (2**15, 2**17, 2**19, 2**21)
_ROUNDING = 1e-9  # relative: sums that differ by less are the same sum


def sign_flip(differences: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """Return the two-sided p of no difference on any pair, for the weighted sum of the differences.

    Up to `COUNTED_UP_TO` pairs all patterns are counted. With more the sums are those of differences rounded to a
    grid, with every pattern counted that rounding could have brought below the observed sum: p is never too small, and
    the grid is made finer until it is at most `EXCESS` (relative) too large.
    """
    signed = np.asarray(differences, dtype=float) * (1.0 if weights is None else np.asarray(weights, dtype=float))
    sizes, observed = np.abs(signed), float(abs(signed.sum()))
    return _counted(sizes, observed) if len(sizes) <= COUNTED_UP_TO else _rounded(sizes, observed)


def _counted(sizes: np.ndarray, observed: float) -> float:
    """Meet in the middle: for each sum of one half, how many of the other half's reach the rest."""
    tolerance = _ROUNDING * (1 + observed)
    half = len(sizes) // 2
    first, second = _signed_sums(sizes[:half]), _signed_sums(sizes[half:])
    reached = len(second) - np.searchsorted(second, observed - tolerance - first)
    above = int(reached.sum()) / 2.0 ** len(sizes)
    return 1.0 if observed <= tolerance else min(1.0, 2 * above)


def _signed_sums(sizes: np.ndarray) -> np.ndarray:
    """Return the sums of all patterns of signs, ascending."""
    sums = np.zeros(1)
    for size in sizes:
        # Both parts are ascending: a stable sort merges them.
        sums = np.sort(np.concatenate([sums - size, sums + size]), kind="stable")
    return sums


def _rounded(sizes: np.ndarray, observed: float) -> float:
    highest = 1.0
    for cells in _CELLS:
        lowest, highest = _bounds(np.sort(sizes), observed, cells)
        if highest <= (1 + EXCESS) * lowest:
            break
    return highest


def _bounds(sizes: np.ndarray, observed: float, cells: int) -> tuple[float, float]:
    """Return bounds of p, from the distribution of the sum of `sizes`, ascending, that are rounded to `cells` cells."""
    unit = float(sizes.sum()) / cells
    if observed <= _ROUNDING * cells * unit:
        return 1.0, 1.0
    steps = np.rint(sizes / unit).astype(int)
    # The share of patterns by the sum of the differences that keep their sign, one difference after another.
    share, reached = np.zeros(int(steps.sum()) + 1), 0
    share[0] = 1.0
    for step in map(int, steps):
        halves = 0.5 * share[: reached + 1]
        share[: reached + 1] = halves
        share[step : step + reached + 1] += halves
        reached += step
    slack = float(np.abs(sizes / unit - steps).sum()) + _ROUNDING * cells  # what rounding moves a pattern's sum by
    sums = 2 * np.arange(len(share)) - reached
    lowest, highest = (2 * share[sums >= max(observed / unit + moved, 1)].sum() for moved in (slack, -slack))
    return min(1.0, float(lowest)), min(1.0, float(highest))
