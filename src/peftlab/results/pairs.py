"""What pairs of runs can show: the smallest p that n of them can have, and how many a family of tests needs.

Plain numbers, without the libraries that the statistics of a report need: a sweep says it before it starts.
"""

import math
from collections.abc import Sequence

from peftlab.options.roles import Role, option_of, role_of

ALPHA = 0.05
# Runs that differ in one of these are never compared (`aggregate.Block`).
_BLOCK = ("backbone", "shots", "data.holdout")


def smallest_p(n: int) -> float:
    """Return the p that the sign-flip test cannot fall below with n pairs: of its 2^n patterns two are extreme."""
    return math.ldexp(2.0, -n)


def pairs_needed(tests: int, alpha: float = ALPHA) -> int:
    """Return how many pairs the sign-flip test needs to reach `alpha` as the smallest of `tests` under Holm."""
    return math.ceil(math.log2(2 * max(tests, 1) / alpha))


def swept_options(jobs: Sequence[Sequence[str]]) -> frozenset[str]:
    """Return what a sweep varies and a row of its table is named by, given the overrides of each run."""
    settings = _settings(jobs)
    varied = {name for setting in settings for name in setting if len({other.get(name) for other in settings}) > 1}
    return frozenset(name for name in varied if _names_a_row(name))


def what_a_sweep_can_show(jobs: Sequence[Sequence[str]]) -> list[str]:
    """Return for each block of a sweep how many pairs its comparisons will have, and whether they can show anything.

    Args:
        jobs: the overrides of each run, ``name=value``. Runs are compared that differ in the method, which is whatever
            names a row of a table, and pairs where they share the seed.
    """
    settings, rows = _settings(jobs), swept_options(jobs)
    found: dict[tuple[str | None, ...], tuple[set[object], set[object], set[object]]] = {}
    for setting in settings:
        block = tuple(setting.get(name) for name in _BLOCK)
        methods, tasks, seeds = found.setdefault(block, (set(), set(), set()))
        methods.add(tuple(setting.get(name) for name in sorted(rows)))
        tasks.add(setting.get("task"))
        seeds.add(setting.get("seed"))
    called = [" ".join(value for value in block if value) if len(found) > 1 else "" for block in found]
    sizes = [[len(values) for values in of] for of in found.values()]
    return [f"{f'{name}: ' if name else ''}{_reach(*size)}" for name, size in zip(called, sizes, strict=True)]


def _reach(methods: int, tasks: int, seeds: int) -> str:
    """Return in one line what so many methods, tasks and seeds can show."""
    pairs = max(math.comb(methods, 2), 1)
    counted = ((methods, "method"), (tasks, "task"), (seeds, "seed"))
    told = ", ".join(f"{number} {noun}{'s' if number > 1 else ''}" for number, noun in counted)
    against = "against another method " if methods == 1 else "on a task " if tasks > 1 else ""
    lines = [f"{told}: {against}{_enough(seeds, seeds, 1, pairs * tasks)}"]
    if tasks > 1:
        lines.append(f"over the tasks {_enough(seeds * tasks, seeds, tasks, pairs)}")
    return "; ".join(lines)


def _enough(pairs: int, seeds: int, tasks: int, tests: int) -> str:
    needed = -(-pairs_needed(tests) // tasks)
    several = f" of {tests} comparisons" if tests > 1 else ""
    can = "differences can be shown" if seeds >= needed else f"no difference can be shown, {needed} seeds can"
    return f"{pairs} pair{'s' if pairs > 1 else ''}{several}: {can}"


def _settings(jobs: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    return [{option_of(override): override.partition("=")[2] for override in job} for job in jobs]


def _names_a_row(option: str) -> bool:
    role = role_of(option)
    return option not in ("task", *_BLOCK) and (role.method != "no" or role is Role.GIVES)
