"""What stands on top of the page: what was compared, and what can be concluded from it, in sentences."""

from collections import Counter
from collections.abc import Iterable
from statistics import median

from peftlab.report.comparisons import Comparison, Family
from peftlab.report.inference import smallest_p
from peftlab.report.study import Study, task_name

NAMED = 3  # differences that are told one by one


def sentences(study: Study, families: Iterable[Family]) -> list[str]:
    """Return the summary: the runs in one sentence, then what each family of tests shows."""
    return [_scope(study), *(_conclusion(family) for family in families if family.tested), *_lone(study, families)]


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
    parts = [
        f"{_count(len(runs), 'run')} of {_count(len(study.methods), 'method')} on {_join(tasks)}"
        f" ({_join([block.title for block in study.blocks])}): {ended}."
    ]
    if collapsed:
        parts.append(f"{collapsed} collapsed to one answer; they count in every number and are marked.")
    if repeated:
        parts.append(f"{_count(repeated, 'repeated run')} left out: the latest that finished counts.")
    if study.unreadable:
        parts.append(f"{_count(len(study.unreadable), 'record')} could not be read.")
    return " ".join(parts)


def _conclusion(family: Family) -> str:
    tests, standing = len(family.tested), [c for c in family.tested if c.stands]
    place = "over tasks" if family.over_tasks else "on single tasks"
    start = f"{family.block.title}, {place}:"
    if family.out_of_reach:
        return (
            f"{start} nothing can be concluded from the sign-flip test, whatever the runs gave: "
            f"{_count(family.most_pairs, 'pair')} cannot give p below {smallest_p(family.most_pairs):.2g}, and "
            f"{_count(tests, 'test')} together need {family.pairs_needed} pairs."
        )
    if not standing:
        return f"{start} none of {_count(tests, 'comparison')} stands at 5 % after Holm{_blind(family.tested)}."
    told = _join([_difference(c) for c in sorted(standing, key=lambda c: -abs(c.result.mean))[:NAMED]])
    more = f", and {len(standing) - NAMED} more" if len(standing) > NAMED else ""
    return f"{start} {len(standing)} of {_count(tests, 'comparison')} stand at 5 % after Holm: {told}{more}."


def _difference(comparison: Comparison) -> str:
    result = comparison.result
    interval = f" [{result.interval[0]:.1f}, {result.interval[1]:.1f}]" if result.interval else ""
    where = "" if len(comparison.tasks) > 1 else f" on {task_name(comparison.tasks[0])}"
    numbers = f"{result.mean:+.1f} points{interval}, {result.n} pairs, p {_equals(comparison.p_holm)}"
    flag = f", {comparison.collapsed} with a collapsed run" if comparison.collapsed else ""
    return f"{comparison.first.label} against {comparison.second.label}{where} ({numbers}{flag})"


def _equals(p: float | None) -> str:
    text = number_of_p(p)
    return text if text.startswith("<") else f"= {text}"


def _blind(tested: list[Comparison]) -> str:
    known = [c.result.detectable for c in tested if c.result.detectable is not None]
    if not known:
        return ""
    return f"; a single t test would have found a difference of {median(known):.1f} points (median) with 80 % power"


def _lone(study: Study, families: Iterable[Family]) -> list[str]:
    blocks = {family.block for family in families if family.tested}
    return [
        f"{block.title}: no two methods share two runs of the same data and seed, so nothing is tested."
        for block in study.blocks
        if block not in blocks
    ]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _join(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
