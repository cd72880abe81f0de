"""Where a run stands among the stages of its strategy."""

from itertools import accumulate

from peftlab.strategies.contract import Strategy


class PhaseSchedule:
    """The stages of one run, entered one after the other.

    Args:
        strategy: names the stages and enters them.
        steps: all optimiser steps of the run.
        current: the stage that an interrupted run was in, counted from 0.
    """

    def __init__(self, strategy: Strategy, steps: int, current: int = 0) -> None:
        self._strategy = strategy
        self._lengths = strategy.stages(steps)
        self._ends = list(accumulate(self._lengths))
        self.current = current

    @property
    def steps(self) -> int:
        """The optimiser steps of the present stage."""
        return self._lengths[self.current]

    @property
    def several(self) -> bool:
        """Whether parameters are exchanged while the run goes on."""
        return len(self._lengths) > 1

    @property
    def in_last(self) -> bool:
        """Whether no further stage follows."""
        return self.current == len(self._lengths) - 1

    def advance(self, step: int) -> bool:
        """Enter the stages that begin with `step`, counted from 0; return whether there were any."""
        before = self.current
        while not self.in_last and step >= self._ends[self.current]:
            self._enter_next()
        return self.current > before

    def finish(self) -> None:
        """Enter what is left of the stages: training has ended."""
        while not self.in_last:
            self._enter_next()

    def _enter_next(self) -> None:
        self.current += 1
        self._strategy.begin_phase(self.current)
