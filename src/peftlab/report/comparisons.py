"""Which runs are paired with which, and every pair of methods compared: on one task, and over a block's tasks."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from peftlab.errors import nearest, require
from peftlab.report import inference
from peftlab.report.inference import Paired
from peftlab.report.study import Study
from peftlab.results.aggregate import Block, Cell, Method
from peftlab.results.pairs import ALPHA, pairs_needed
from peftlab.results.scores import PERCENT, Scale, common_scale
from peftlab.results.trials import same_search

# The gains of one pair of methods on one task, with how many of the pairs of runs hold a collapsed one.
Gains = tuple[list[float], int]


@dataclass(frozen=True)
class Comparison:
    """The gain of `first` over `second`, on `scale`, where both have runs of the same data and seed.

    The better of the two is first; where a reference is given it is second. `p_holm` and `p_t_holm` are adjusted
    within the `ComparisonFamily`. `p_tasks` (over tasks only) takes the tasks themselves as the sample: the sign-flip
    test over one mean difference a task. `collapsed` counts the pairs in which a run gives one answer to everything.
    `detectable` is the smallest true difference that would have stood with 80 % power as the first of the family under
    Holm, the strictest of its levels; None where so few pairs could not stand at all. `gains` are the differences of
    the pairs, task by task.
    """

    first: Method
    second: Method
    tasks: tuple[str, ...]
    result: Paired
    collapsed: int
    scale: Scale = PERCENT
    p_tasks: float | None = None
    p_holm: float | None = None
    p_t_holm: float | None = None
    detectable: float | None = None
    gains: tuple[tuple[float, ...], ...] = ()

    @property
    def stands(self) -> bool:
        """Whether the difference holds at 5 % over the whole family, by the sign-flip test."""
        return self.p_holm is not None and self.p_holm < ALPHA

    @property
    def beyond_scale(self) -> bool:
        """Whether only a difference that two shares cannot have would have stood: of more than 100 points."""
        return self.scale.unit == "%" and self.detectable is not None and self.detectable > 100


@dataclass(frozen=True)
class ComparisonFamily:
    """The tests of one table: Holm keeps the chance of even one false difference among them below 5 %.

    `unpaired` names what is not compared although seeds agree: runs of other data, metrics of other scales, and the
    rates of one method in a search.
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
        return pairs_needed(len(self.tested))

    @property
    def out_of_reach(self) -> bool:
        """Whether no comparison could hold at 5 %, whatever its runs gave: too few pairs for so many tests."""
        floors = [comparison.result.floor or 1.0 for comparison in self.tested]
        return bool(floors) and min(floors) * len(floors) >= ALPHA


def compare_all(study: Study, reference: str | None = None) -> list[ComparisonFamily]:
    """Return two families a block: every pair of methods on each task, and over the tasks both have.

    The rates of one method in a search are trials, of which one is chosen: no pair.

    With `reference` (a method's label or a strategy) only the comparisons with it are made, and are the family:
    fewer tests, fairly so when it was named before the results were seen.
    """
    if reference is not None:
        names = {method.label for method in study.methods} | {method.strategy for method in study.methods}
        known = ", ".join(sorted(names))
        require(
            reference in names, f"--reference {reference}: no such method{nearest(reference, names)}; there is {known}"
        )
    return [family for block in study.blocks for family in _families(study, block, reference)]


def _families(study: Study, block: Block, reference: str | None) -> list[ComparisonFamily]:
    cells = {(cell.method, cell.setting.task): cell for cell in study.of(block)}
    tasks = study.tasks(block)
    on_tasks: list[Comparison] = []
    over_tasks: list[Comparison] = []
    notes: list[str] = []
    for first, second in _pairs(study, block, reference):
        gains: dict[str, Gains] = {}
        for task in tasks:
            if (first, task) in cells and (second, task) in cells:
                if same_search(cells[first, task], cells[second, task]):
                    notes.append(f"{block.title}: the rates of a search are not tested against one another, but chosen")
                    continue
                values, collapsed, note = match(cells[first, task], cells[second, task])
                notes += [note] if note else []
                gains |= {task: (values, collapsed)} if values else {}
        scales = {task: cells[first, task].scale for task in gains}
        keep_order = reference is not None
        on_tasks += [_compare(first, second, {task: gains[task]}, scales[task], keep_order) for task in gains]
        if len(gains) > 1:
            if common := common_scale(scales.values()):
                over_tasks.append(_compare(first, second, gains, common, keep_order))
            else:
                notes.append(f"{block.title}: metrics of different directions or units are not averaged over tasks")
    families = [ComparisonFamily(block, False, tuple(on_tasks), tuple(dict.fromkeys(notes)))]
    families += [ComparisonFamily(block, True, tuple(over_tasks))] if over_tasks else []
    return [_adjusted(family) for family in families]


def match(first: Cell, second: Cell) -> tuple[list[float], int, str | None]:
    """Return the gains of one method over another in one setting, seed by seed: positive where the first is better.

    Further how many of these pairs hold a collapsed run, and a note when seeds agree but something else does not:
    the metric, or the content of what was trained and validated on, as far as both records hold its hash.
    """
    names = f"{first.setting.title}: {first.method.label} and {second.method.label}"
    seeds = [seed for seed in first.scores if seed in second.scores]
    if seeds and first.scale != second.scale:
        return [], 0, f"{names} are scored by different metrics: not paired"
    ours, theirs = ({run.seed: run for run in cell.runs} for cell in (first, second))
    paired = paired_seeds(first, second)
    values = [first.scale.gain(first.scores[seed], second.scores[seed]) for seed in paired]
    collapsed = sum(ours[seed].collapsed or theirs[seed].collapsed for seed in paired)
    left_out = [str(seed) for seed in seeds if seed not in paired]
    note = f"{names} saw different data with seed {', '.join(left_out)}: not paired" if left_out else None
    return values, collapsed, note


def paired_seeds(first: Cell, second: Cell) -> list[int]:
    """Return the seeds with which both methods have a score on data of the same content, as far as records hash it."""
    ours, theirs = ({run.seed: run.data for run in cell.runs} for cell in (first, second))
    both = [seed for seed in first.scores if seed in second.scores]
    return [seed for seed in both if _same_data(ours[seed], theirs[seed])]


def verdict(comparison: Comparison) -> str:
    """Return in a word what a comparison shows of its first method: ahead, behind, not told apart, or too few pairs."""
    result = comparison.result
    if result.p is None:
        return "one pair: no test"
    if comparison.stands:
        return "ahead" if result.mean > 0 else "behind"
    return "not told apart"


def _same_data(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether the files that both records hashed are the same: older records hashed fewer."""
    ours, theirs = (data.get("content_sha256") or {} for data in (first, second))
    return all(ours[split] == theirs[split] for split in ours.keys() & theirs.keys())


def _methods(study: Study, block: Block) -> list[Method]:
    found = {cell.method for cell in study.of(block) if cell.scores}
    return [method for method in study.methods if method in found]


def _pairs(study: Study, block: Block, reference: str | None) -> Iterable[tuple[Method, Method]]:
    """Yield every pair of a block's methods; with a reference those that it is in, and it second."""
    for first, second in combinations(_methods(study, block), 2):
        if reference in (first.label, first.strategy):
            yield second, first
        elif reference is None or reference in (second.label, second.strategy):
            yield first, second


def _compare(first: Method, second: Method, gains: dict[str, Gains], scale: Scale, keep_order: bool) -> Comparison:
    """Compare on these tasks, the better first unless the order is given; the tests are two-sided."""
    strata = [values for values, _ in gains.values()]
    means = [sum(values) / len(values) for values in strata]
    if sum(means) < 0 and not keep_order:
        first, second = second, first
        strata = [[-value for value in values] for values in strata]
    p_tasks = inference.sign_flip(means) if len(means) > 1 else None
    collapsed = sum(count for _, count in gains.values())
    result = inference.compare(strata, scale.tie)
    kept = tuple(map(tuple, strata))
    return Comparison(first, second, tuple(gains), result, collapsed, scale, p_tasks, gains=kept)


def _adjusted(family: ComparisonFamily) -> ComparisonFamily:
    flips = inference.holm([comparison.result.p for comparison in family.comparisons])
    ts = inference.holm([comparison.result.p_t for comparison in family.comparisons])
    level = ALPHA / max(len(family.tested), 1)
    return replace(
        family,
        comparisons=tuple(
            replace(c, p_holm=p, p_t_holm=t, detectable=inference.detectable(c.result, level))
            for c, p, t in zip(family.comparisons, flips, ts, strict=True)
        ),
    )
