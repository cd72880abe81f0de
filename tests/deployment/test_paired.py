"""A ratio of times that survives other work on the machine; a clock of our own shows it exactly."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import binomtest

from peftlab.deployment.paired import median_interval, paired_ratio


class Machine:
    """A clock that goes on only while work is done, as fast as `load` says at that call."""

    def __init__(self, load: Callable[[int], float]) -> None:
        self.now, self.calls, self.order = 0.0, 0, ""
        self._load = load

    def clock(self) -> float:
        return self.now

    def work(self, seconds: float, name: str = "") -> Callable[[], None]:
        def done() -> None:
            self.now += seconds * self._load(self.calls)
            self.calls += 1
            self.order += name

        return done


def drifting(call: int) -> float:
    """Three times slower at the end than at the beginning."""
    return 1 + call / 100


def interrupted(call: int) -> float:
    """Every eleventh call waits for another program, twenty times as long as it works."""
    return 20.0 if call % 11 == 0 else 1.0


@pytest.mark.parametrize("load", [lambda call: 1.0, drifting, interrupted], ids=["quiet", "drifting", "interrupted"])
@pytest.mark.parametrize("cost", [1.0, 1.1, 2.0])
def test_the_ratio_is_that_of_the_work_whatever_else_goes_on(load: Callable[[int], float], cost: float) -> None:
    machine = Machine(load)
    found = paired_ratio(machine.work(0.01), machine.work(0.01 * cost), 100, machine.clock)
    assert found.ratio == pytest.approx(cost, rel=0.01)
    assert found.low <= cost * 1.01
    assert found.high >= cost * 0.99
    assert found.high - found.low < 0.05 * cost


def test_the_seconds_are_the_references() -> None:
    machine = Machine(lambda call: 1.0)
    assert paired_ratio(machine.work(0.25), machine.work(4.0), 6, machine.clock).seconds == pytest.approx(0.25)


def test_both_are_warmed_up_and_then_take_turns_at_going_first() -> None:
    machine = Machine(lambda call: 1.0)
    paired_ratio(machine.work(1, "r"), machine.work(1, "c"), 6, machine.clock)
    assert machine.order == "rc" * 5 + "rccr" * 3


def test_what_runs_second_being_faster_favours_nobody() -> None:
    machine = Machine(lambda call: 1.0 if call % 2 else 1.5)
    found = paired_ratio(machine.work(1), machine.work(1), 200, machine.clock)
    assert found.low < 1 < found.high


@pytest.mark.parametrize("count", [6, 7, 20, 100, 200])
def test_the_interval_of_a_median_is_the_narrowest_by_rank_that_is_sure_enough(count: int) -> None:
    low, high = median_interval(list(range(count))[::-1])
    assert low + high == count - 1

    def missing(rank: int) -> float:
        """The chance that at most `rank` values lie below the median, at either end."""
        return 2 * binomtest(int(rank), count, 0.5, alternative="less").pvalue

    assert missing(low) <= 0.05 < missing(low + 1)


def test_the_interval_holds_the_median_nineteen_times_in_twenty() -> None:
    generator = np.random.default_rng(0)
    samples = generator.lognormal(0.0, 1.0, (1000, 50))  # its median is 1
    held = sum(low <= 1 <= high for low, high in map(median_interval, samples))
    assert held >= 940
