"""How many seeds and tasks a study needs: from the spread of paired differences that pilot records show."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import special

from peftlab.errors import require
from peftlab.report.comparisons import Comparison, ComparisonFamily
from peftlab.report.power import POWER, power
from peftlab.report.sign_flip import sign_flip
from peftlab.results.aggregate import Block
from peftlab.results.pairs import ALPHA, pairs_needed
from peftlab.results.scores import PERCENT, Scale, common_scale

DRAWS = 1_000  # studies drawn for each power: its standard error is 1.3 % at 80 %
# Pairs; beyond, the power is the t test's at the same level, from which the sign-flip test's then differs by less than
# a drawn study's error: tests/report/test_planning.py.
SIMULATED_UP_TO = 40
SPREAD_LEVEL = 0.90
MOST_SEEDS = 10_000
TASKS = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Spread:
    """The standard deviation of paired differences on a task, pooled over comparisons, on the scores' scale.

    `low` and `high` bound it with 90 % confidence: chi squared, with the degrees of freedom of one comparison, since
    comparisons share runs. `pairs` is the most that a comparison has.
    """

    task: str
    deviation: float
    low: float
    high: float
    pairs: int


@dataclass(frozen=True)
class Power:
    """The chance that a difference stands; `error` is the Monte-Carlo standard error, None where nothing was drawn."""

    value: float
    error: float | None


@dataclass(frozen=True)
class Need:
    """The seeds that each of `tasks` tasks needs, the power they give, and those at the spread's upper bound.

    None: more than `MOST_SEEDS`.
    """

    tasks: int
    seeds: int | None
    power: Power | None
    at_most: int | None


@dataclass(frozen=True)
class StudyPlan:
    """What a block's pilot says: the spread on each task, and what is needed on one task, and over several.

    `methods` counts the planned comparisons of methods. On single tasks their tests are one family with those of the
    other tasks, over tasks they are a family of their own.
    """

    block: Block
    scale: Scale
    methods: int
    spreads: tuple[Spread, ...]
    on_tasks: tuple[Need, ...]
    over_tasks: tuple[Need, ...]


def plan(family: ComparisonFamily, difference: float, comparisons: int | None = None, goal: float = POWER) -> StudyPlan:
    """Return what a study needs that is to see a true `difference` in the scores, as pairs vary in a pilot.

    Args:
        family: the pilot's comparisons on each task.
        difference: in points where the metric is a share, else in the metric's unit.
        comparisons: how many pairs of methods are planned; None for as many as the pilot has.
        goal: the power that each comparison is to have at Holm's strictest level, whatever the others give.

    Raises:
        UserError: no pairs that vary.
    """
    found = spreads(family.tested)
    require(bool(found), f"{family.block.title}: no two methods share two runs that differ: their spread is not known")
    methods = comparisons or len({frozenset((c.first, c.second)) for c in family.tested})
    scale = common_scale(c.scale for c in family.tested)
    alone = tuple(_need([spread], difference, ALPHA / (methods * len(found)), goal) for spread in found)
    over: tuple[Need, ...] = ()
    if scale is not None:
        sizes = sorted({*TASKS[1:], len(found)} - {1})
        over = tuple(_need(_typical(found, tasks), difference, ALPHA / methods, goal) for tasks in sizes)
    return StudyPlan(family.block, scale or PERCENT, methods, found, alone, over)


def spreads(comparisons: Sequence[Comparison]) -> tuple[Spread, ...]:
    """Return the spread on each task: the root of the mean variance within comparisons that vary."""
    by_task: dict[str, list[tuple[float, int]]] = {}
    for comparison in comparisons:
        result = comparison.result
        if result.error is not None:
            by_task.setdefault(comparison.tasks[0], []).append((result.n * result.error**2, result.n))
    return tuple(_spread(task, of) for task, of in by_task.items())


@cache
def chance(deviations: tuple[float, ...], difference: float, seeds: int, level: float, draws: int = DRAWS) -> Power:
    """Return how often the report's test finds a true difference on every task, of so many seeds each.

    Differences are normal with the `deviations` of their tasks; the test is the sign-flip test over all pairs, which
    finds a difference where its p is below `level`.
    """
    pairs, tasks = seeds * len(deviations), len(deviations)
    variances = np.square(deviations)
    if pairs > SIMULATED_UP_TO:
        error = math.sqrt(float(variances.sum()) / seeds) / tasks
        df = float(variances.sum() ** 2 / (np.square(variances) / (seeds - 1)).sum()) if seeds > 1 else pairs - 1.0
        return Power(power(difference / error, df, level), None)
    if pairs < 2:
        return Power(0.0, None)
    spread = np.repeat(deviations, seeds)
    studies = np.random.default_rng(0).normal(difference, spread, size=(draws, pairs))
    share = float(np.mean([sign_flip(study.tolist()) < level for study in studies]))
    return Power(share, math.sqrt(share * (1 - share) / draws))


def seeds_needed(deviations: tuple[float, ...], difference: float, level: float, goal: float = POWER) -> int | None:
    """Return the fewest seeds a task with which `chance` reaches `goal`; None for more than `MOST_SEEDS`."""
    least = max(2, -(-pairs_needed(1, level) // len(deviations)))
    start = max(least, _by_normal(deviations, difference, level, goal))
    if start > MOST_SEEDS:
        return None
    seeds = start
    while seeds > least and chance(deviations, difference, seeds - 1, level).value >= goal:
        seeds -= 1
    while chance(deviations, difference, seeds, level).value < goal:
        seeds += 1
    return seeds


def _by_normal(deviations: Sequence[float], difference: float, level: float, goal: float) -> int:
    """Return about how many seeds the t test needs: where to begin."""
    shift = abs(difference) * len(deviations) / math.sqrt(float(np.square(deviations).sum()))
    reach = float(special.ndtri(1 - level / 2) + special.ndtri(goal))
    about = (reach / shift) ** 2
    # Guenther's correction of the normal's count for the t test's.
    return math.ceil(about + special.ndtri(1 - level / 2) ** 2 / 2 / len(deviations))


def _need(of: Sequence[Spread], difference: float, level: float, goal: float) -> Need:
    deviations = tuple(spread.deviation for spread in of)
    seeds = seeds_needed(deviations, difference, level, goal)
    at_most = seeds_needed(tuple(spread.high for spread in of), difference, level, goal)
    return Need(len(of), seeds, None if seeds is None else chance(deviations, difference, seeds, level), at_most)


def _typical(found: Sequence[Spread], tasks: int) -> list[Spread]:
    """Return the pilot's own tasks where there are so many, else as many tasks of their root mean square spread."""
    if tasks == len(found):
        return list(found)
    deviation, high = (
        math.sqrt(float(np.mean([getattr(spread, name) ** 2 for spread in found]))) for name in ("deviation", "high")
    )
    return [Spread("any", deviation, 0.0, high, 0)] * tasks


def _spread(task: str, of: list[tuple[float, int]]) -> Spread:
    deviation = math.sqrt(float(np.mean([variance for variance, _ in of])))
    pairs = max(n for _, n in of)
    df, tail = pairs - 1, (1 - SPREAD_LEVEL) / 2
    low, high = (deviation * math.sqrt(df / float(special.chdtri(df, share))) for share in (tail, 1 - tail))
    return Spread(task, deviation, low, high, pairs)
