"""Sharpness as a number.

The sharpness of weights w at the relative radius r is the mean rise of the loss

    S_r(w) = E_d [ L(w + r d) - L(w) ],

d a random direction that is filter-normalised at w (`directions.py`): each row of each matrix is moved by r times its
own length. It is estimated over K directions, each taken both ways, so that the slope drops out; for a quadratic loss
it is r^2/2 times the mean of d^T H d, the curvature relative to the weights. The highest of the 2K rises stands
beside it. Within a ball of radius r nearly all of the volume is at its rim, so this is also the mean rise within it.
"""

import math
from collections.abc import Callable, Iterator
from statistics import fmean

from peftlab.landscape.directions import Direction
from peftlab.landscape.surface import Loss, Place
from peftlab.results.landscapes import Sharpness


def rises(
    place: Place, loss: Loss, direction: Callable[[int], Direction], numbers: range, radius: float, at_home: float
) -> Iterator[list[float]]:
    """Yield, for each of `numbers`, the rises of the loss over `at_home` at plus and minus `radius` * direction."""
    for number in numbers:
        along = direction(number)
        pair = []
        for sign in (1, -1):
            place.at((sign * radius, along))
            pair.append(loss() - at_home)
        yield pair
    place.home()


def summarise(found: list[list[float | None]]) -> Sharpness:
    """Return the rises with their mean and the highest; None for both where a loss is no finite number."""
    known = [rise for pair in found for rise in pair]
    finite = [rise for rise in known if rise is not None and math.isfinite(rise)]
    if not finite or len(finite) < len(known):
        return Sharpness(found)
    return Sharpness(found, fmean(finite), max(finite))
