"""What stands on top of the page: what was compared, and what can be concluded from it, in sentences."""

from collections import Counter
from collections.abc import Iterable
from statistics import median

from peftlab.report.comparisons import Comparison, ComparisonFamily
from peftlab.report.inference import INTERVALS
from peftlab.report.planned import outcome
from peftlab.report.study import Study
from peftlab.results.aggregate import Block, task_name
from peftlab.results.pairs import smallest_p
from peftlab.results.scores import Scale

NAMED = 3  # differences that are listed one by one


def sentences(study: Study, families: Iterable[ComparisonFamily]) -> list[tuple[str, str]]:
    """Return the summary as (what it is about, what is to be said): all runs first, then block by block.

    Blocks of which the same is to be said, as that they have no pairs, are named together.
    """
    families = list(families)
    by_block: dict[Block, list[ComparisonFamily]] = {block: [] for block in study.blocks}
    for family in families:
        if family.tested:
            by_block[family.block].append(family)
    said: dict[str, list[str]] = {}
    for block, of in by_block.items():
        said.setdefault(_concluded(of), []).append(block.title)
    concluded = [("; ".join(titles), conclusion) for conclusion, titles in said.items()]
    standing = any(c.stands and c.result.interval for of in by_block.values() for family in of for c in family.tested)
    stated = outcome(study, families)
    return [("What was read", _scope(study)), *stated, *concluded, *([("In brackets", INTERVALS)] if standing else [])]


def number_of_p(p: float | None) -> str:
    """Return a p-value with two significant digits."""
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def _scope(study: Study) -> str:
    runs = [run for cell in study.cells for run in cell.runs]
    tasks = list(dict.fromkeys(task_name(setting.task) for setting in study.settings))
    states = Counter(run.status for run in runs)
    collapsed = sum(run.collapsed for run in runs)
    ended = ", ".join(f"{count} {status}" for status, count in states.most_common())
    repeated = sum(cell.repeated for cell in study.cells)
    strategies = len({method.strategy for method in study.methods})
    variants = f" ({len(study.methods)} variants)" if len(study.methods) > strategies else ""
    methods = _count(strategies, "strategy", "strategies") + variants
    parts = [f"{_count(len(runs), 'run')} of {methods} on {_join(tasks)}: {ended}."]
    if collapsed:
        parts.append(f"{collapsed} collapsed to one answer; they count in every number and are marked.")
    if repeated:
        parts.append(f"{_count(repeated, 'repeated run')} left out: the latest that finished counts.")
    if study.unreadable:
        parts.append(f"{_count(len(study.unreadable), 'record')} could not be read.")
    return " ".join(parts)


def _concluded(families: list[ComparisonFamily]) -> str:
    if not families:
        return "No two methods share two runs of the same data and seed, so nothing is tested."
    ordered = sorted(families, key=lambda family: not family.over_tasks)
    return " ".join(_conclusion(family) for family in ordered)


def _conclusion(family: ComparisonFamily) -> str:
    tests, standing = len(family.tested), [c for c in family.tested if c.stands]
    place = "Over tasks" if family.over_tasks else "On single tasks"
    if family.out_of_reach:
        needed = f"{tests} tests together need" if tests > 1 else "one test needs"
        return (
            f"{place} nothing can be told apart, whatever the runs gave: with {_count(family.most_pairs, 'pair')} the "
            f"sign-flip test cannot fall below p = {smallest_p(family.most_pairs):.2g}; {needed} {family.pairs_needed}."
        )
    if not standing:
        return f"{place} no difference stands at 5 % ({_count(tests, 'comparison')}, Holm){_blind(family.tested)}."
    told = _join([_difference(c) for c in sorted(standing, key=lambda c: -abs(c.result.mean))[:NAMED]])
    more = f", and {len(standing) - NAMED} more" if len(standing) > NAMED else ""
    share = "the one comparison stands" if tests == 1 else f"{len(standing)} of {tests} comparisons stand"
    return f"{place} {share} at 5 % after Holm: {told}{more}."


def _difference(comparison: Comparison) -> str:
    result, scale = comparison.result, comparison.scale
    interval = f" [{', '.join(map(scale.text, result.interval))}]" if result.interval else ""
    where = "" if len(comparison.tasks) > 1 else f" on {task_name(comparison.tasks[0])}"
    numbers = f"{scale.gain_text(result.mean)}{interval}, {result.n} pairs, p {_equals(comparison.p_holm)}"
    flag = f", {comparison.collapsed} of them with a collapsed run" if comparison.collapsed else ""
    return f"{comparison.first.label} against {comparison.second.label}{where} ({numbers}{flag})"


def _equals(p: float | None) -> str:
    text = number_of_p(p)
    return text if text.startswith("<") else f"= {text}"


def _blind(tested: list[Comparison]) -> str:
    known: dict[Scale, list[float]] = {}
    for comparison in tested:
        if comparison.detectable is not None:
            unit = Scale(unit=comparison.scale.unit)
            known.setdefault(unit, []).append(comparison.detectable)
    if not known:
        return ""
    sizes = " or ".join(_size(scale, median(found)) for scale, found in known.items())
    return f"; to stand with 80 % power a true difference would have to be {sizes} (median)"


def _size(scale: Scale, difference: float) -> str:
    return "more than 100 points" if scale.unit == "%" and difference > 100 else scale.size_text(difference)


def _count(number: int, noun: str, plural: str | None = None) -> str:
    return f"{number} {noun if number == 1 else plural or noun + 's'}"


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
