"""Two functions timed against each other, so that other work on the machine slows both alike."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scipy import stats

_WARM_UP = 5


@dataclass(frozen=True)
class PairedRatio:
    """How many times the reference's time a candidate takes.

    `ratio` is the median over pairs, `low` and `high` its 95 % interval, `seconds` the reference's median time.
    """

    ratio: float
    low: float
    high: float
    seconds: float


def paired_ratio(
    reference: Callable[[], object],
    candidate: Callable[[], object],
    pairs: int,
    clock: Callable[[], float] = time.perf_counter,
) -> PairedRatio:
    """Call both in turns and compare each call with its neighbour; a few calls of each go before, untimed.

    Who goes first alternates, so that neither a drift nor what the first call leaves behind favours one of them.

    Args:
        reference: what is compared with; it must have finished its work when it returns.
        candidate: what is compared.
        pairs: how many times each is timed, at least 6.
        clock: the seconds of now.
    """
    for function in (reference, candidate) * _WARM_UP:
        function()
    times = []
    for pair in range(pairs):
        if pair % 2 == 0:
            first = _seconds(reference, clock)
            times.append((first, _seconds(candidate, clock)))
        else:
            second = _seconds(candidate, clock)
            times.append((_seconds(reference, clock), second))
    ratios = [theirs / ours for ours, theirs in times]
    return PairedRatio(
        statistics.median(ratios), *median_interval(ratios), statistics.median(ours for ours, _ in times)
    )


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median of at least 6 values, from their order alone.

    How many of them lie below the median is binomial whatever their distribution, so outliers do not matter.
    It takes the values as independent: a disturbance that outlasts many of them makes it too narrow.
    """
    outer = int(stats.binom.ppf(0.025, len(values), 0.5))  # type: ignore[attr-defined]  # scipy makes it while it loads
    ordered = sorted(values)
    return ordered[outer - 1], ordered[-outer]


def _seconds(function: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    function()
    return clock() - started
