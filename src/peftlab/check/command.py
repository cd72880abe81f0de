"""``python -m peftlab.check NAME``: the promises of a strategy, a kind of task or an architecture, one a line.

The same promises hold for the laboratory's own, in its tests. A strategy's options follow as name=value.
"""

import argparse
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from peftlab.command_line import add_plugins_option, any_output, program
from peftlab.errors import UserError, nearest, require
from peftlab.registry import load_plugins

BACKBONES = ("bert", "roberta")


def main(arguments: list[str] | None = None) -> int:
    """Check, and return 0 where every promise is kept, 1 where one is broken, 2 for a mistake."""
    any_output()
    given = _parser().parse_args(arguments)
    counts = {"ok": 0, "broken": 0, "skipped": 0}
    try:
        load_plugins(given.plugins)
        with _quiet():
            for line, verdict in check(given.name, given.options, given.backbones):
                counts[verdict] += 1
                print(line, flush=True)
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    print(f"{given.name}: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in ("ok", "broken", "skipped")))
    return 1 if counts["broken"] else 0


def check(name: str, options: Sequence[str], backbones: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield a line for each promise of what has this name, with its verdict.

    Raises:
        UserError: nothing has this name, or an option that it does not take.
    """
    from peftlab.check.promise import find_out

    for promises, subjects in _asked(name, options, backbones):
        for promise in promises:
            finding = find_out(promise, subjects)
            yield str(finding), finding.verdict


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave unsaid what a run would be warned of, few examples for instance: it is meant here."""
    log = logging.getLogger("peftlab")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


def _asked(name: str, options: Sequence[str], backbones: Sequence[str]) -> Iterator[tuple[list[Any], list[Any]]]:
    """Yield the promises that are asked for by a name, each list with what it is checked on."""
    # torch and transformers: only when they are needed
    from peftlab.backbones.architecture import ARCHITECTURES, known_types
    from peftlab.check import architectures, kinds, strategies
    from peftlab.check.promise import Subject
    from peftlab.check.small import Trial
    from peftlab.strategies.registry import STRATEGIES, create_strategy
    from peftlab.tasks.kind import KINDS

    known = {*STRATEGIES.names(), *KINDS.names(), *ARCHITECTURES.names()}
    if name not in known:
        there = ", ".join(sorted(known))
        raise UserError(
            f"{name}: no strategy, kind of task or architecture{nearest(name, known)}; there are {there}, "
            "and what a package of yours has (--plugins PACKAGE)"
        )
    for kind in backbones:
        known = set(known_types())
        require(kind in known, f"--backbones {kind}: no such type of model; known are {', '.join(sorted(known))}")
    if name in STRATEGIES.names():
        strategy = create_strategy(name, _values(options))
        trials = [(kind, lambda kind=kind: Trial(strategy, kind)) for kind in backbones]
        yield strategies.PROMISES, [Subject(kind, make) for kind, make in trials]
    if name in KINDS.names():
        yield kinds.PROMISES, [Subject("its example", lambda: KINDS.get(name))]
    if name in ARCHITECTURES.names():
        yield architectures.PROMISES, [Subject("small models", lambda: ARCHITECTURES.get(name))]


def _values(options: Sequence[str]) -> dict[str, Any]:
    """Return options as YAML has them, of `name=value` on a command line."""
    import yaml

    values: dict[str, Any] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise UserError(f"{option}: allowed is name=value, an option of the strategy")
        try:
            values[name.removeprefix("strategy.")] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UserError(f"{option}: is no value that YAML knows") from error
    return values


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program("check", "python -m peftlab.check"),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", metavar="NAME", help="of a strategy, a kind of task or an architecture")
    parser.add_argument("options", nargs="*", metavar="OPTION=VALUE", help="options of the strategy")
    parser.add_argument(
        "--backbones", nargs="+", default=BACKBONES, metavar="TYPE", help="model types that a strategy is checked on"
    )
    add_plugins_option(parser)
    return parser
