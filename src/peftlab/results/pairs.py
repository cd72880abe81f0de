"""What pairs of runs can show: the smallest p that n of them can have, and how many a family of tests needs.

Plain numbers, without the libraries that the statistics of a report need: a sweep says it before it starts.
"""

import math

ALPHA = 0.05


def smallest_p(n: int) -> float:
    """Return the p that the sign-flip test cannot fall below with n pairs: of its 2^n patterns two are extreme."""
    return math.ldexp(2.0, -n)


def pairs_needed(tests: int, alpha: float = ALPHA) -> int:
    """Return how many pairs the sign-flip test needs to reach `alpha` as the smallest of `tests` under Holm."""
    return math.ceil(math.log2(2 * max(tests, 1) / alpha))
