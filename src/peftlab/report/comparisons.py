"""Which runs are paired with which, and every pair of methods compared: on one task, and over a block's tasks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from peftlab.errors import nearest, require
from peftlab.report import inference
from peftlab.report.inference import ALPHA, Paired
from peftlab.report.study import Block, Cell, Method, Study


@dataclass(frozen=True)
class Comparison:
    """`first` minus `second` where both have runs of the same data and seed.

    The better of the two is first; where a reference is given it is second. `p_holm` and `p_t_holm` are adjusted
    within the `Family`. `p_tasks` (over tasks only) takes the tasks themselves as the sample: the sign-flip test
    over one mean difference a task. `collapsed` counts the pairs in which a run gives one answer to everything.
    """

    first: Method
    second: Method
    tasks: tuple[str, ...]
    result: Paired
    collapsed: int
    p_tasks: float | None = None
    p_holm: float | None = None
    p_t_holm: float | None = None

    @property
    def stands(self) -> bool:
        """Whether the difference holds at 5 % over the whole family, by the sign-flip test."""
        return self.p_holm is not None and self.p_holm < ALPHA


@dataclass(frozen=True)
class Family:
    """The tests of one table: Holm keeps the chance of even one false difference among them below 5 %.

    `unpaired` names what could not be paired although seeds agree: runs of other data.
    """

    block: Block
    over_tasks: bool
    comparisons: tuple[Comparison, ...]
    unpaired: tuple[str, ...] = ()

    @property
    def tested(self) -> list[Comparison]:
        """The comparisons that have a test: two pairs or more."""
        return [comparison for comparison in self.comparisons if comparison.result.p is not None]

    @property
    def most_pairs(self) -> int:
        """The largest number of pairs that a comparison has."""
        return max((comparison.result.n for comparison in self.comparisons), default=0)

    @property
    def pairs_needed(self) -> int:
        """How many pairs a comparison needs before the smallest p of this family can hold."""
        return inference.pairs_needed(len(self.tested))

    @property
    def out_of_reach(self) -> bool:
        """Whether no comparison could hold at 5 %, whatever its runs gave: too few pairs for so many tests."""
        floors = [comparison.result.floor or 1.0 for comparison in self.tested]
        return bool(floors) and min(floors) * len(floors) >= ALPHA


def compare_all(study: Study, reference: str | None = None) -> list[Family]:
    """Return two families a block: every pair of methods on each task, and over the tasks both have.

    With `reference` (a method's label or a strategy) only the comparisons with it are made, and are the family:
    fewer tests, fairly so when it was named before the results were seen.
    """
    if reference is not None:
        names = {method.label for method in study.methods} | {method.strategy for method in study.methods}
        known = ", ".join(sorted(names))
        require(
            reference in names, f"--reference {reference}: no such method{nearest(reference, names)}; there is {known}"
        )
    families = []
    for block in study.blocks:
        cells = {(cell.method, cell.setting.task): cell for cell in study.of(block)}
        pairs = [pair for pair in combinations(_methods(study, block), 2) if _wanted(pair, reference)]
        on_tasks, over_tasks, unpaired = [], [], []
        for first, second in (_reference_second(pair, reference) for pair in pairs):
            shared = [task for task in study.tasks(block) if (first, task) in cells and (second, task) in cells]
            matched = {task: match(cells[first, task], cells[second, task]) for task in shared}
            unpaired += [note for _, _, note in matched.values() if note]
            strata = {task: (values, bad) for task, (values, bad, _) in matched.items() if values}
            keep_order = reference is not None
            on_tasks += [_compare(first, second, {task: strata[task]}, keep_order) for task in strata]
            if len(strata) > 1:
                over_tasks.append(_compare(first, second, strata, keep_order))
        families.append(_adjusted(Family(block, False, tuple(on_tasks), tuple(dict.fromkeys(unpaired)))))
        if over_tasks:
            families.append(_adjusted(Family(block, True, tuple(over_tasks))))
    return families


def match(first: Cell, second: Cell) -> tuple[list[float], int, str | None]:
    """Return the differences of two methods in one setting, seed by seed, in percent points.

    Further how many of these pairs hold a collapsed run, and a note when seeds agree but data does not: what
    was trained and validated on must have the same content, as far as both records hold its hash.
    """
    ours, theirs = ({run.seed: run for run in cell.runs} for cell in (first, second))
    seeds = [seed for seed in first.scores if seed in second.scores]
    paired = [seed for seed in seeds if _same_data(ours[seed].data, theirs[seed].data)]
    values = [first.scores[seed] - second.scores[seed] for seed in paired]
    collapsed = sum(ours[seed].collapsed or theirs[seed].collapsed for seed in paired)
    left_out = [str(seed) for seed in seeds if seed not in paired]
    names = f"{first.setting.title}: {first.method.label} and {second.method.label}"
    note = f"{names} saw different data with seed {', '.join(left_out)}: not paired" if left_out else None
    return values, collapsed, note


def verdict(comparison: Comparison) -> str:
    """Return in a word what a comparison shows: higher, lower, not told apart, or too few pairs."""
    result = comparison.result
    if result.p is None:
        return "one pair: no test"
    if comparison.stands:
        return "higher" if result.mean > 0 else "lower"
    return "not told apart"


def _same_data(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether the files that both records hashed are the same: older records hashed fewer."""
    ours, theirs = (data.get("content_sha256") or {} for data in (first, second))
    return all(ours[split] == theirs[split] for split in ours.keys() & theirs.keys())


def _methods(study: Study, block: Block) -> list[Method]:
    found = {cell.method for cell in study.of(block) if cell.scores}
    return [method for method in study.methods if method in found]


def _wanted(pair: Iterable[Method], reference: str | None) -> bool:
    return reference is None or any(reference in (method.label, method.strategy) for method in pair)


def _reference_second(pair: tuple[Method, Method], reference: str | None) -> tuple[Method, Method]:
    first, second = pair
    return (second, first) if reference in (first.label, first.strategy) else pair


def _compare(first: Method, second: Method, strata: dict[str, tuple[list[float], int]], keep_order: bool) -> Comparison:
    """Compare on these tasks, the better first unless the order is given; the tests are two-sided."""
    differences = [values for values, _ in strata.values()]
    means = [sum(values) / len(values) for values in differences]
    if sum(means) < 0 and not keep_order:
        first, second = second, first
        differences = [[-value for value in values] for values in differences]
    p_tasks = inference.sign_flip([means]) if len(means) > 1 else None
    collapsed = sum(bad for _, bad in strata.values())
    return Comparison(first, second, tuple(strata), inference.compare(differences), collapsed, p_tasks)


def _adjusted(family: Family) -> Family:
    flips = inference.holm([comparison.result.p for comparison in family.comparisons])
    ts = inference.holm([comparison.result.p_t for comparison in family.comparisons])
    adjusted = zip(family.comparisons, flips, ts, strict=True)
    return replace(family, comparisons=tuple(replace(c, p_holm=p, p_t_holm=t) for c, p, t in adjusted))
