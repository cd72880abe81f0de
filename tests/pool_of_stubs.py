"""`python tests/pool_of_stubs.py SWEEP RUNS SECONDS`: one process of a pool, whose runs only sleep.

It does what a sweep's process does: the runs that nobody else is at work on, and then what others leave undone. Each
attempt leaves a line in its run's `attempts` when it begins and when its record is written.
"""

import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "results")]

from records import finished  # noqa: E402

from peftlab.locks import exclusive_lock  # noqa: E402
from peftlab.outcome import Outcome, begin_sweep, settled_outcome, write_outcome  # noqa: E402
from peftlab.pool import wait_for_others  # noqa: E402
from peftlab.results.record import FILE_NAME, RunRecord  # noqa: E402


def work(folder: Path, seed: int, seconds: float) -> str:
    """Do one run unless it has finished; return what became of it."""
    with exclusive_lock(folder) as alone:
        if not alone:
            return "busy"
        if (folder / FILE_NAME).exists() and RunRecord.read(folder).status == "finished":
            return "already finished"
        note(folder, "begin")
        time.sleep(seconds)
        finished(seed=seed).write(folder)
        note(folder, "end")
    return "finished"


def note(folder: Path, what: str) -> None:
    with (folder / "attempts").open("a") as file:
        file.write(f"{what} {os.getpid()}\n")


def main(sweep: Path, runs: int, seconds: float) -> None:
    """Work until all runs of the sweep have ended."""
    token = f"{os.getpid():08x}"
    begin_sweep(sweep, token, runs)
    while True:
        for number in range(runs):
            if settled_outcome(sweep, token, number) is None:
                folder = sweep / f"run-{number}"
                write_outcome(Outcome(folder, work(folder, number, seconds)), sweep, token, number)
        if not wait_for_others(sweep, token):
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
