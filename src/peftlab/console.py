"""`peftlab COMMAND ...`: every command of the laboratory behind one name; its module is imported when it is typed."""

import os
import signal
import sys
from dataclasses import dataclass
from typing import NoReturn

from peftlab.command_line import any_output, program
from peftlab.errors import nearest
from peftlab.imports import import_to_stay


@dataclass(frozen=True)
class Command:
    """A module whose `main` reads `sys.argv`, and what it does in a line."""

    module: str
    about: str


COMMANDS = {
    "train": Command("peftlab.cli", "tune a backbone on a task, once or as a sweep: all that `python train.py` takes"),
    "results": Command("peftlab.results.__main__", "every run below a folder, as one table"),
    "report": Command("peftlab.report.command", "runs as tables for a paper, statistics and one HTML page"),
    "predict": Command("peftlab.prediction.command", "what a finished run says of the examples of a file"),
    "merge": Command("peftlab.merge", "a run's delta, merged: a plain Hugging Face model folder"),
    "export": Command("peftlab.export.command", "a run's delta as stock peft loads it"),
    "submit": Command(
        "peftlab.submit", "the zip that the server of GLUE or SuperGLUE reads, of runs; or what is wrong with one"
    ),
    "power": Command("peftlab.power", "from pilot runs: the seeds and tasks that a study needs to see a difference"),
    "search": Command("peftlab.search", "the best learning rates of experiment=search, as a recipe"),
    "landscape": Command("peftlab.landscape.command", "the loss around tuned weights and along their training"),
    "check": Command(
        "peftlab.check.command", "the promises of a strategy, a kind of task or an architecture, one a line"
    ),
}


def main() -> NoReturn:
    """Do the command that is typed; exit code 2 for one that does not exist, else the command's own."""
    first = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if "COMP_LINE" in os.environ and first == "-sc":
        name = _completed()
    elif first in ("-h", "--help"):
        print(_overview())
        raise SystemExit(0)
    elif first in COMMANDS:
        name = sys.argv.pop(1)
    elif "=" in first or first.startswith("-"):
        # What train.py takes without a command: the ranks of a distributed run are started so, by Lightning.
        name = "train"
    else:
        there = ", ".join(COMMANDS)
        print(f"error: {first}: no such command{nearest(first, COMMANDS)}; there are {there}", file=sys.stderr)
        raise SystemExit(2)
    _do(name)


def train() -> NoReturn:
    """Do what `python train.py` does."""
    _do("train")


def _do(name: str) -> NoReturn:
    any_output()
    try:
        # A module's `main` may end by itself, or give the exit code.
        raise SystemExit(import_to_stay(COMMANDS[name].module).main())
    except KeyboardInterrupt:  # while it is imported, or in a command that knows nothing of signals
        print("error: interrupted", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None


def _overview() -> str:
    called = program("COMMAND", "peftlab COMMAND")
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}   {command.about}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "PEFT Lab compares ways of tuning a transformer lightly.",
            "",
            f"{called} ...",
            "",
            *lines,
            "",
            f"{called} --help",
        ]
    )


def _completed() -> str:
    """Complete a command's name; what follows `train` is Hydra's to complete, and what follows others the shell's."""
    words = os.environ["COMP_LINE"].split(" ")
    if len(words) == 2:
        print(" ".join(name for name in COMMANDS if name.startswith(words[1])))
        raise SystemExit(0)
    if len(words) < 2 or words[1] != "train":
        raise SystemExit(0)
    os.environ["COMP_LINE"] = " ".join([words[0], *words[2:]])
    return "train"
