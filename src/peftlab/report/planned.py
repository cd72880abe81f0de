"""Plan beside outcome: what a study stated before it began, and what became of it."""

from collections.abc import Iterable

from peftlab.report.comparisons import ComparisonFamily
from peftlab.report.study import Study
from peftlab.results.aggregate import Method
from peftlab.results.scores import Scale
from peftlab.results.stated import StatedPlan, stated_by


def plan_of(study: Study) -> StatedPlan | None:
    """Return the plan that all runs of a study state."""
    return stated_by(run for cell in study.cells for run in cell.runs)


def reference_of(study: Study) -> str | None:
    """Return the label of the method that a study's plan compares all others with; None where it names not one."""
    plan = plan_of(study)
    named = [method for method in study.methods if plan and _is_meant(method, plan)]
    return named[0].label if len(named) == 1 else None


def outcome(study: Study, families: Iterable[ComparisonFamily]) -> list[tuple[str, str]]:
    """Return plan and outcome, a sentence or two each; nothing where no plan was stated.

    What is not compared with the plan's reference was not planned, and is called so.
    """
    plan = plan_of(study)
    if plan is None:
        return []
    stated = (
        f"{plan.question} {plan.reference} against every other, {plan.pairs} pairs each, to see"
        f" {Scale().size_text(plan.difference)}; it ends when {plan.stop}."
    )
    reference, tested = reference_of(study), [c for family in families for c in family.tested]
    if reference is None:
        return [("Plan", stated), ("Outcome", f"{plan.reference} is not one of these methods, or several.")]
    planned = [c for c in tested if reference in (c.first.label, c.second.label)]
    told = [_reached(plan, [c.result.n for c in planned], [c.detectable for c in planned])]
    if others := len(tested) - len(planned):
        told.append(f"Not planned, so exploratory: {others} more.")
    return [("Plan", stated), ("Outcome", " ".join(told))]


def _reached(plan: StatedPlan, pairs: list[int], detectable: list[float | None]) -> str:
    if not pairs:
        return "No planned comparison has two pairs yet."
    counted = f"{min(pairs)} to {max(pairs)}" if min(pairs) < max(pairs) else str(pairs[0])
    whole = sum(number >= plan.pairs for number in pairs)
    told = f"{whole} of {len(pairs)} planned comparisons have their {plan.pairs} pairs (there are {counted})"
    known = [size for size in detectable if size is not None]
    seen = sum(size <= plan.difference for size in known)
    return told + (f"; {seen} could have shown {Scale().size_text(plan.difference)}." if known else ".")


def _is_meant(method: Method, plan: StatedPlan) -> bool:
    """Return whether a method is the plan's reference: options that do not vary in the study name no method."""
    options = {method.short(key): value for key, value in method.options}
    return method.strategy == plan.strategy and all(
        options.get(name, value) == value for name, value in plan.options.items()
    )
