"""Timing in turns: every contender once a round, so that what else the machine does hits all of them alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Seconds = dict[str, list[float]]
Clock = Callable[[], float]


@dataclass(frozen=True)
class Ratio:
    """The median of a round's ratios and their quartiles."""

    median: float
    low: float
    high: float


def alternate(
    contenders: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 1, clock: Clock = time.perf_counter
) -> Seconds:
    """Run every contender once a round and return its seconds, round by round.

    The order turns by one each round, so that none always follows the same neighbour. `warm_up` rounds go unmeasured.
    `clock` gives the seconds; of what runs on one thread `time.process_time` leaves out those that others had the
    processor.
    """
    names = list(contenders)
    seconds: Seconds = {name: [] for name in names}
    for number in range(warm_up + rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            elapsed = timed(contenders[name], clock)
            if number >= warm_up:
                seconds[name].append(elapsed)
    return seconds


def timed(action: Callable[[], object], clock: Clock = time.perf_counter) -> float:
    """Return the seconds that `action` takes."""
    started = clock()
    action()
    return clock() - started


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
    """Return ours / theirs, round by round: the median and the quartiles."""
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    if len(ratios) == 1:
        return Ratio(ratios[0], ratios[0], ratios[0])
    low, median, high = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratio(median, low, high)
