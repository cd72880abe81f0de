"""`python docs/first_hour.py`: what a newcomer sees who types the README from top to bottom, into `docs/first-hour.md`.

Clones the checkout afresh, prepares the files that the README's commands name, types each command in order as it stands
there, and writes down what was printed, the exit code and the seconds. A command that takes longer than `--limit` is
ended by Ctrl-C, as an impatient newcomer would end it.
"""

import argparse
import csv
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"  # a GLUE release, where there is one
FIRST, LAST = 14, 14  # lines of a long output that are kept
_STARTS = ("make ", "python ", "peftlab ", "source ", "eval ")
_OF_PIP = "WARNING: Location "  # of the folders that this machine's pip looks in
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Command:
    """What is typed: a line of a shell, or a block of Python."""

    text: str
    language: str = "sh"

    @property
    def words(self) -> list[str]:
        """What a shell or Python is started with."""
        return ["bash", "-c", self.text] if self.language == "sh" else ["python", "-c", self.text]


@dataclass(frozen=True)
class Seen:
    """What a command printed, and how it ended; `code` None: by Ctrl-C after the limit."""

    command: Command
    output: str
    code: int | None
    seconds: float


def commands(markdown: str) -> list[Command]:
    """Return the commands of a page in order: the lines of indented blocks, and blocks of Python."""
    found, fence, block = [], None, list[str]()
    for line in markdown.splitlines():
        if line.startswith("```"):
            if fence == "python":
                found.append(Command("\n".join(block), "python"))
            fence, block = (line[3:].strip() if fence is None else None), []
        elif fence is not None:
            block.append(line)
        elif line.startswith("    ") and line.strip().startswith(_STARTS):
            found.append(Command(re.sub(r"\s{2,}# .*", "", line.strip())))
    return found


def readable(output: str, clone: Path) -> str:
    """Return what was printed without colours and what is this machine's own, a long one without its middle."""
    text = _ESCAPES.sub("", output).replace(str(clone), "~/peftlab").replace(str(Path.home()), "~")
    lines = [line.rpartition("\r")[2].rstrip() for line in text.splitlines()]
    lines = [line for line in lines if not line.startswith(_OF_PIP)]
    if len(lines) > FIRST + LAST + 1:
        lines = [*lines[:FIRST], f"... ({len(lines) - FIRST - LAST} lines)", *lines[-LAST:]]
    return "\n".join(lines).strip("\n")


def page(seen: Iterable[Seen], about: str) -> str:
    """Return the log as Markdown."""
    seen = list(seen)
    parts = ["# The first hour", "", about, ""]
    for one in seen:
        ended = "Ctrl-C" if one.code is None else f"exit code {one.code}"
        typed = one.command.text if one.command.language == "python" else f"$ {one.command.text}"
        parts += [f"```{'python' if one.command.language == 'python' else 'console'}", typed]
        parts += ["```", "", "```"] if one.command.language == "python" else []
        parts += [one.output or "(nothing)", "```", "", f"{ended} after {one.seconds:.0f} s", ""]
    minutes = sum(one.seconds for one in seen) / 60
    return "\n".join([*parts, f"{len(seen)} commands, {minutes:.0f} minutes."]) + "\n"


def prepare(clone: Path) -> None:
    """Put the files there that the README's commands name: a GLUE release, and reviews of one's own."""
    if DATA.is_dir():
        (clone / "GLUE").symlink_to(DATA)
    opinions = [("superb", "positive"), ("awful", "negative"), ("lovely", "positive"), ("dull", "negative")]
    things = ("cast", "plot", "music", "ending", "script", "pacing", "camera", "humor")
    rows = [(f"The {thing} was {word}.", label) for thing, (word, label) in product(things, opinions)]
    with (clone / "my.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    lines = [json.dumps({"text": text, "label": label}) for text, label in rows[:8]]
    (clone / "dev.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (clone / "new.csv").write_text("text\nThe sound was awful.\nThe set was superb.\n", encoding="utf-8")


def newest_run(clone: Path) -> Path | None:
    """Return the folder of the latest single run that finished."""
    found = sorted(path.parent for path in clone.glob("outputs/*/*/delta.json"))
    return found[-1] if found else None


def type_in(command: Command, clone: Path, limit: float) -> Seen:
    """Type a command in the clone, whose environment is active once it is there."""
    link, run = clone / "RUN_FOLDER", newest_run(clone)
    if run is not None:
        link.unlink(missing_ok=True)
        link.symlink_to(run)
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    path = f"{clone / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    started = time.perf_counter()
    process = subprocess.Popen(
        command.words,
        cwd=clone,
        env={**inherited, "PATH": path, "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, code = process.communicate(timeout=limit)[0], process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGINT)
        output, code = _last_words(process), None
    return Seen(command, readable(output, clone), code, time.perf_counter() - started)


def _last_words(process: subprocess.Popen[str]) -> str:
    """Return the output of a process that was told to end; one that does not is killed."""
    try:
        return process.communicate(timeout=120)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]


def main() -> int:
    """Type the README and write the log; return 0."""
    parser = argparse.ArgumentParser(description="Type the README in a fresh clone and write down what is printed.")
    parser.add_argument("--limit", type=float, default=240.0, metavar="SECONDS", help="for one command, then Ctrl-C")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "first-hour.md", metavar="FILE")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "peftlab"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        commit = subprocess.run(
            ["git", "-C", str(clone), "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        readme = (clone / "README.md").read_text(encoding="utf-8")
        prepare(clone)
        seen = []
        for command in commands(readme):
            # From nothing takes as long as packages take to come.
            seen.append(type_in(command, clone, 1800 if command.text == "make demo" else given.limit))
            print(f"{seen[-1].seconds:6.0f} s  {command.text.splitlines()[0]}", file=sys.stderr, flush=True)
    about = (
        "What a newcomer sees who types the README from top to bottom in a fresh clone, without bars. Made "
        f"by `python docs/first_hour.py` at {commit} on {datetime.now(UTC):%d %B %Y}, with Python "
        f"{platform.python_version()} on {os.cpu_count()} cores. `GLUE` is a release of its files, `RUN_FOLDER` the "
        "latest run, `my.csv`, `dev.jsonl` and `new.csv` hold 42 reviews. What takes longer than "
        f"{given.limit:.0f} s is ended by Ctrl-C."
    )
    given.output.write_text(page(seen, about), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
