"""What became of one job of a command: a small file in the sweep's folder, the same whichever launcher carried it."""

import json
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from peftlab.files import write_text_atomic
from peftlab.options.schema import from_plain, read_json
from peftlab.redaction import redact

FOLDER = ".outcomes"
BY_ANOTHER = "by another process"  # says so of a run that was not repeated here
_BEGUN = "begun"  # when a sweep began and how many runs it has, beside what its jobs leave

Status = Literal[
    "started",  # and no more was heard of it: its process was killed
    "finished",
    "skipped",  # the method does not fit the backbone or the task: no failure
    "already finished",
    "busy",  # left to another process that is at work on it
    "mistake",  # the user's
    "crashed",
    "interrupted",
]
# A crash outweighs a mistake: whoever asks for the exit code is told the worst.
_EXIT_CODES: dict[Status, int] = {"mistake": 2, "interrupted": 1, "crashed": 1, "started": 1}


@dataclass(frozen=True)
class Outcome:
    """What became of one job, and the run's folder; `message` is one line, empty where there is nothing to say.

    `score` is the validation score of a run that has one, and the outcome as a number: what Hydra's sweepers that
    search maximise or minimise.
    """

    folder: Path
    status: Status
    message: str = ""
    score: float | None = None

    def __float__(self) -> float:
        if self.score is None:
            raise ValueError(f"{self.folder.name} has no score: {self.message or self.status}")
        return self.score

    @property
    def by_another(self) -> bool:
        """Whether another process finished the run while this command was at work."""
        return self.status == "already finished" and self.message == BY_ANOTHER

    @property
    def exit_code(self) -> int:
        """0 unless the job failed: 2 for a user's mistake, 1 for a crash and for a process that was killed."""
        return _EXIT_CODES.get(self.status, 0)


@dataclass(frozen=True)
class _Written:
    """An outcome as its file has it."""

    folder: str
    status: Status
    message: str


def outcome_of_error(folder: Path, status: Status, reason: object) -> Outcome:
    """Return the outcome of a job that failed; a reason of many lines is folded into one, secrets are hidden."""
    return Outcome(folder, status, redact(" ".join(str(reason).split())))


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """Return the exit code of a command with these outcomes: 1 if a job crashed, else 2 for a mistake, else 0."""
    codes = {outcome.exit_code for outcome in outcomes}
    return next((code for code in (1, 2) if code in codes), 0)


@dataclass(frozen=True)
class Progress:
    """How far a sweep is.

    Attributes:
        done: how many of its runs have ended, however.
        worked: how many of these were really carried out.
        runs: how many there are; None where only the sweeper knows.
        seconds: since the sweep began.
    """

    done: int
    worked: int
    runs: int | None
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """About how long the rest takes at the pace so far, as many runs at a time; None where nothing tells."""
        if self.runs is None or not self.worked:
            return None
        return self.seconds / self.worked * (self.runs - self.done)


def begin_sweep(sweep: Path, token: str, runs: int | None) -> None:
    """Note that the command `token` begins a sweep of so many runs, for `progress_of` and `begun_at`."""
    write_text_atomic(sweep / FOLDER / token / _BEGUN, json.dumps({"runs": runs, "time": time.time()}) + "\n")


def begun_at(sweep: Path, token: str) -> int | None:
    """Return when the command `token` began, in nanoseconds by the clock of the disk; None where it was not noted."""
    begun = sweep / FOLDER / token / _BEGUN
    return begun.stat().st_mtime_ns if begun.is_file() else None


def progress_of(sweep: Path, token: str) -> Progress | None:
    """Return how far the command `token` is, from what its jobs left; None where its beginning was not noted."""
    begun = sweep / FOLDER / token / _BEGUN
    if not begun.is_file():
        return None
    noted = json.loads(begun.read_text(encoding="utf-8"))
    ended = [outcome for outcome in outcomes_by_number(sweep, token).values() if outcome.status != "started"]
    worked = [outcome for outcome in ended if outcome.status not in ("already finished", "busy")]
    return Progress(len(ended), len(worked), noted["runs"], time.time() - noted["time"])


def write_outcome(outcome: Outcome, sweep: Path, token: str, number: int) -> None:
    """Write the outcome of job `number` of the command `token` into the folder `sweep`, whole or not at all."""
    content = {"folder": str(outcome.folder), "status": outcome.status, "message": outcome.message}
    write_text_atomic(sweep / FOLDER / token / f"{number}.json", json.dumps(content) + "\n")


def take_outcomes(sweep: Path, token: str) -> list[Outcome]:
    """Return the outcomes of the command `token`, in the order of its jobs, and remove their files."""
    read, place = list(outcomes_by_number(sweep, token).values()), sweep / FOLDER / token
    shutil.rmtree(place, ignore_errors=True)
    with suppress(OSError):  # another command's are there, or none were written
        place.parent.rmdir()
    return read


def outcomes_by_number(sweep: Path, token: str) -> dict[int, Outcome]:
    """Return the outcomes of the command `token` so far, by the numbers of its jobs and in their order."""
    files = sorted((sweep / FOLDER / token).glob("*.json"), key=_number)
    return {_number(path): read_json(path, "outcome", _outcome) for path in files}


def settled_outcome(sweep: Path, token: str, number: int) -> Outcome | None:
    """Return what became of job `number` of the command `token`; None where it is still to be done."""
    path = sweep / FOLDER / token / f"{number}.json"
    found: Outcome | None = read_json(path, "outcome", _outcome) if path.is_file() else None
    return None if found is None or found.status in ("started", "busy", "interrupted") else found


def _outcome(data: Any) -> Outcome:
    written: _Written = from_plain(_Written, data)
    return Outcome(Path(written.folder), written.status, written.message)


def _number(path: Path) -> int:
    return int(path.stem)
