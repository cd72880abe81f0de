"""What a study states before it begins, and its records keep: what is compared, and with how many pairs."""

from collections.abc import Iterable
from dataclasses import dataclass

from peftlab.errors import UserError, require
from peftlab.options.schema import from_plain
from peftlab.results.record import RunRecord


@dataclass(frozen=True)
class StatedPlan:
    """The group `plan` of a configuration, which an experiment gives.

    Attributes:
        question: what the study asks.
        reference: the method that every other is compared with, which are the planned comparisons: a strategy, and
            options that tell its variants apart, as ``hifi score=pagerank``.
        pairs: of each comparison: tasks times seeds.
        difference: that so many pairs are to show with 80 % power, in points.
        stop: when the study ends.
    """

    question: str
    reference: str
    pairs: int
    difference: float
    stop: str

    def __post_init__(self) -> None:
        require(bool(self.reference.split()), "plan.reference: allowed is a strategy, and options of it as name=value")
        require(self.pairs > 0, f"plan.pairs={self.pairs}: allowed is above 0")
        require(self.difference > 0, f"plan.difference={self.difference}: allowed is above 0")

    @property
    def strategy(self) -> str:
        """The reference's strategy."""
        return self.reference.split()[0]

    @property
    def options(self) -> dict[str, str]:
        """The reference's options, by their short names."""
        return dict(word.split("=", 1) for word in self.reference.split()[1:] if "=" in word)


def stated_by(records: Iterable[RunRecord]) -> StatedPlan | None:
    """Return the plan that all records state alike; None where there is none, or there are several."""
    found = {_plan_of(record) for record in records}
    return found.pop() if len(found) == 1 else None


def _plan_of(record: RunRecord) -> StatedPlan | None:
    plan = record.config.get("plan")
    try:
        stated: StatedPlan | None = None if plan is None else from_plain(StatedPlan, plan)
    except UserError:
        return None  # of another version
    return stated
