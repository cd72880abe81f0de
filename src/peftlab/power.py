"""``python -m peftlab.power RECORDS --difference 1.0``: the seeds and tasks that a study needs to see a difference.

From pilot runs: the spread of paired differences, and how many seeds on how many tasks give 80 % power after Holm.
"""

import argparse
import math
import sys
from pathlib import Path

from peftlab.command_line import add_plugins_option, any_output, program
from peftlab.errors import UserError, require
from peftlab.registry import load_plugins
from peftlab.report.comparisons import compare_all
from peftlab.report.planning import DRAWS, MOST_SEEDS, SIMULATED_UP_TO, Need, StudyPlan, plan
from peftlab.report.power import POWER
from peftlab.report.study import read
from peftlab.results.aggregate import task_name
from peftlab.results.pairs import ALPHA
from peftlab.results.scores import percent


def main(arguments: list[str] | None = None) -> int:
    """Print what a study needs; return 0, or 2 with one line on stderr."""
    any_output()
    given = _parser().parse_args(arguments)
    try:
        load_plugins(given.plugins)
        plans = _plans(given)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    print("\n\n".join(_told(of, given.difference, given.power) for of in plans))
    print(f"\n{_how(plans)}")
    return 0


def _plans(given: argparse.Namespace) -> list[StudyPlan]:
    require(
        math.isfinite(given.difference) and given.difference > 0,
        f"--difference {given.difference:g}: must be more than 0, as 1.0: a point of a share, a unit of another metric",
    )
    require(ALPHA < given.power < 1, f"--power {given.power:g}: must be between {ALPHA:g} and 1, as 0.8")
    count = given.comparisons
    require(count is None or count > 0, f"--comparisons {count}: must be 1 or more")
    families = compare_all(read(given.folders), given.reference)
    pilots = [family for family in families if not family.over_tasks and family.tested]
    require(
        bool(pilots), "no two methods share two runs of the same task, data and seed: a spread needs a pilot of these"
    )
    return [plan(family, given.difference, count, given.power) for family in pilots]


def _told(of: StudyPlan, difference: float, goal: float) -> str:
    scale = of.scale
    size = scale.size_text(difference)
    family = f"{of.methods} planned comparison{'s' if of.methods > 1 else ''}"
    lines = [
        f"{of.block.title}: a true difference of {size}, {family}, {percent(goal):g} % power",
        "",
        f"  {'':<14} {'spread':>7}  {'90 % interval':<14} {'seeds':>6}  {'at most':>7}  power",
    ]
    alone = zip(of.spreads, of.on_tasks, strict=True)
    for spread, need in alone:
        interval = f"{scale.text(spread.low)} to {scale.text(spread.high)}"
        name = f"{task_name(spread.task)} alone"
        lines.append(f"  {name:<14} {scale.text(spread.deviation):>7}  {interval:<14} {_seeds(need)}")
    for need in of.over_tasks:
        own = need.tasks == len(of.spreads)
        lines.append(f"  {f'{need.tasks} tasks' + (', these' if own else ''):<14} {'':>7}  {'':<14} {_seeds(need)}")
    return "\n".join(lines)


def _seeds(need: Need) -> str:
    if need.seeds is None or need.power is None:
        return f"{f'> {MOST_SEEDS}':>6}"
    drawn = "" if need.power.error is None else f" ± {percent(need.power.error):.1f}"
    most = f"> {MOST_SEEDS}" if need.at_most is None else str(need.at_most)
    return f"{need.seeds:>6}  {most:>7}  {percent(need.power.value):.1f}{drawn} %"


def _how(plans: list[StudyPlan]) -> str:
    pairs = max(spread.pairs for of in plans for spread in of.spreads)
    return "\n".join([
        "Spread: the standard deviation of paired differences, from at most "
        f"{pairs} pairs; at most: the seeds where it lies at the upper end of",
        "its interval. Seeds are those of each task. A comparison stands where the sign-flip test holds at "
        f"{percent(ALPHA):g} % after Holm; the power is that",
        "at Holm's strictest level, over all planned comparisons (on single tasks: times the tasks). Differences are "
        "normal: runs that collapse need more.",
        f"± is the standard error of {DRAWS:,} drawn studies; beyond {SIMULATED_UP_TO} pairs it is the t test's power, "
        "computed.",
    ])  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program("power", "python -m peftlab.power"), description=__doc__)
    parser.add_argument("folders", nargs="+", type=Path, metavar="RECORDS", help="folders that hold the pilot's runs")
    parser.add_argument(
        "--difference",
        type=float,
        required=True,
        metavar="D",
        help="the true difference to be seen: 1.0 is a point where the metric is a share, else a unit of the metric",
    )
    parser.add_argument("--reference", metavar="METHOD", help="plan comparisons with this method alone")
    parser.add_argument(
        "--comparisons", type=int, metavar="N", help="planned pairs of methods; default: as many as the pilot has"
    )
    parser.add_argument("--power", type=float, default=POWER, metavar="P", help="default: 0.8")
    add_plugins_option(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
