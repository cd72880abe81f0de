"""What the user typed to get here: for hints, help and records, wherever the runs are done."""

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_CONSOLE = ("peftlab", "peftlab.exe")
_CHECKOUT = Path(__file__).resolve().parents[2] / "pyproject.toml"
_typed: ContextVar[tuple[str, ...] | None] = ContextVar("typed", default=None)


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


def any_output() -> None:
    """Let what is printed be shown by any terminal: one that knows ASCII alone shows a question mark for the rest."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def typed_command() -> list[str]:
    """Return the words of the command that asked for what is done here, without `python`.

    They are this process's own, unless it works for another: a launcher may carry runs to processes of their own.
    """
    own = program("train", Path(sys.argv[0]).name).removeprefix("python ").split(" ")
    return list(_typed.get() or (*own, *sys.argv[1:]))


def install_extra(name: str) -> str:
    """Return the command that installs an extra of `pyproject.toml`: here, or beside an installed package."""
    what = f"--editable '.[{name}]' -c constraints.txt" if _CHECKOUT.is_file() else f"'peftlab[{name}]'"
    return f"python -m pip install {what}"


@contextmanager
def working_for(command: Sequence[str]) -> Iterator[None]:
    """Let `typed_command` return `command` inside."""
    token = _typed.set(tuple(command))
    try:
        yield
    finally:
        _typed.reset(token)


def add_plugins_option(parser: argparse.ArgumentParser) -> None:
    """Let a command take `--plugins`: nothing that a run's folder says imports a package, so its user names it."""
    about = "a package of yours that a strategy, a score, a kind of task, an architecture or a figure comes from"
    parser.add_argument("--plugins", nargs="+", default=[], metavar="PACKAGE", help=about)
