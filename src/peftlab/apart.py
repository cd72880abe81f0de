"""A run of several devices in a sweep is a command of its own.

Lightning starts the processes of the other devices with the words that were typed, and these would be the whole sweep.
So the sweep types the run's own command, and that leaves its outcome among the sweep's.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from peftlab.outcome import Outcome, begun_at, outcomes_by_number, write_outcome
from peftlab.resume import quoted
from peftlab.search_path import split_config_dirs

_VARIABLE = "PEFTLAB_PART_OF"
_WATCH = 2.0  # seconds


@dataclass(frozen=True)
class Part:
    """Of which sweep a run is: its folder, the token of its command, and the run's number."""

    sweep: str
    token: str
    number: int

    @classmethod
    def of_environment(cls) -> Self | None:
        """Return what a sweep has told the command that it typed; None for a command that a user typed."""
        told = os.environ.get(_VARIABLE)
        return cls(**json.loads(told)) if told else None

    @property
    def begun(self) -> int | None:
        """When the sweep began, in nanoseconds by the disk's clock."""
        return begun_at(Path(self.sweep), self.token)

    @staticmethod
    def end_with_sweep() -> None:
        """Let this process end as by SIGTERM when the sweep's has gone: one that is killed says nothing more."""
        sweep = os.getppid()

        def watch() -> None:
            while os.getppid() == sweep:
                time.sleep(_WATCH)
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, daemon=True).start()

    def write(self, outcome: Outcome) -> None:
        """Leave the outcome among the sweep's; of the processes of a run the first one does."""
        if os.environ.get("LOCAL_RANK", "0") == "0":
            write_outcome(outcome, Path(self.sweep), self.token, self.number)


def needs_several(config: dict[str, Any]) -> bool:
    """Return whether a run asks for more than one device, or may."""
    trainer = config.get("trainer")
    return isinstance(trainer, dict) and (trainer.get("devices", 1) != 1 or trainer.get("num_nodes", 1) != 1)


def run_apart(part: Part, folder: Path, overrides: Sequence[str], command: Sequence[str]) -> Outcome:
    """Do a run by a command of its own and return its outcome.

    Args:
        part: of the sweep.
        folder: the run's.
        overrides: of the run, as Hydra has them.
        command: the words that were typed for the sweep.
    """
    folders, rest = split_config_dirs(command[1:])
    searched = [word for word in rest if word.startswith("hydra.searchpath=")]
    words = [*folders, *overrides, *searched, f"hydra.run.dir={quoted(folder)}"]
    # A checkout need not be installed.
    places = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    told = {_VARIABLE: json.dumps(vars(part)), "PYTHONPATH": os.pathsep.join(places)}
    process = subprocess.Popen(
        [sys.executable, "-m", "peftlab", "train", *words],
        env={**os.environ, **told},
        start_new_session=True,  # Ctrl-C comes once, from here
    )
    try:
        code = process.wait()
    except BaseException:
        process.send_signal(signal.SIGTERM)  # it writes its checkpoint
        process.wait()
        raise
    outcome = outcomes_by_number(Path(part.sweep), part.token).get(part.number)
    if outcome is None or outcome.status == "started":
        return Outcome(folder, "crashed", f"its processes ended with code {code}")
    return outcome
