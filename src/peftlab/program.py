"""What the user typed to get here, for hints, help and records: `python train.py` or `peftlab train`, for example."""

import argparse
import sys
from pathlib import Path

_CONSOLE = ("peftlab", "peftlab.exe")


def program(command: str, otherwise: str) -> str:
    """Return how a command is typed here.

    Args:
        command: its name behind `peftlab`, as in `train`.
        otherwise: how it is typed without the console command, as in `python train.py`.
    """
    called = Path(sys.argv[0])
    if called.name in _CONSOLE:
        return f"peftlab {command}"
    if called.name == "__main__.py" and called.parent.name == "peftlab":
        return f"python -m peftlab {command}"
    return otherwise


def add_plugins_option(parser: argparse.ArgumentParser) -> None:
    """Let a command take `--plugins`: nothing that a run's folder says imports a package, so its user names it."""
    about = "a package of yours that a strategy, a score, a kind of task or an architecture comes from"
    parser.add_argument("--plugins", nargs="+", default=[], metavar="PACKAGE", help=about)


def words_of(command: str) -> list[str]:
    """Return the words that stand before a command's arguments, as a record keeps them: without `python`."""
    return program(command, Path(sys.argv[0]).name).removeprefix("python ").split(" ")
