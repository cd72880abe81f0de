"""Where a run stands among the phases of its training."""

from itertools import accumulate

from peftlab.strategies.attached import Attached


class PhaseSchedule:
    """The phases of one run, entered one after the other; a strategy without phases has one.

    Args:
        attached: names the phases and enters them.
        steps: all optimiser steps of the run.
        current: the phase that an interrupted run was in, counted from 0.
    """

    def __init__(self, attached: Attached, steps: int, current: int = 0) -> None:
        self._phases = attached.phases(steps)
        self._lengths = [*self._phases.lengths] if self._phases else [steps]
        self._ends = list(accumulate(self._lengths))
        self.current = current

    @property
    def steps(self) -> int:
        """The optimiser steps of the present phase."""
        return self._lengths[self.current]

    @property
    def in_last(self) -> bool:
        """Whether no further phase follows."""
        return self.current == len(self._lengths) - 1

    def advance(self, step: int) -> bool:
        """Enter the phases that begin with `step`, counted from 0; return whether there were any."""
        before = self.current
        while not self.in_last and step >= self._ends[self.current]:
            self._enter_next()
        return self.current > before

    def finish(self) -> None:
        """Enter what is left of the phases: training has ended."""
        while not self.in_last:
            self._enter_next()

    def _enter_next(self) -> None:
        self.current += 1
        if self._phases is not None:
            self._phases.begin(self.current)
