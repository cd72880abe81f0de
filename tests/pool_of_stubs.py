"""`python tests/pool_of_stubs.py SWEEP RUNS SECONDS FATAL...`: one process of a pool, whose runs only sleep.

It does what a sweep's process does: the runs that nobody else is at work on, and then what others leave undone. Each
attempt leaves a line in its run's `attempts` when it begins and when its record is written.

The first attempt at each run of FATAL kills the process (SIGKILL), so that as many are killed on a slow machine as on a
fast one: in the midst of the run, or, where its number is odd, up to twice the length of a run after it began, wherever
the process is by then.
"""

import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "results")]

from records import finished  # noqa: E402

from peftlab.locks import exclusive_lock  # noqa: E402
from peftlab.outcome import Outcome, begin_sweep, settled_outcome, write_outcome  # noqa: E402
from peftlab.pool import wait_for_others  # noqa: E402
from peftlab.results.record import FILE_NAME, RunRecord  # noqa: E402


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def work(folder: Path, seed: int, seconds: float, fatal: set[int]) -> str:
    """Do one run unless it has finished; return what became of it."""
    with exclusive_lock(folder) as alone:
        if not alone:
            return "busy"
        if (folder / FILE_NAME).exists() and RunRecord.read(folder).status == "finished":
            return "already finished"
        first = not (folder / "attempts").exists()
        note(folder, "begin")
        if first and seed in fatal:
            odd = seed % 2 == 1
            threading.Timer(random.Random(seed).uniform(0, 2) * seconds if odd else seconds / 2, die).start()
            time.sleep(0 if odd else 60)
        time.sleep(seconds)
        finished(seed=seed).write(folder)
        note(folder, "end")
    return "finished"


def note(folder: Path, what: str) -> None:
    with (folder / "attempts").open("a") as file:
        file.write(f"{what} {os.getpid()}\n")


def main(sweep: Path, runs: int, seconds: float, fatal: set[int]) -> None:
    """Work until all runs of the sweep have ended."""
    token = f"{os.getpid():08x}"
    begin_sweep(sweep, token, runs)
    while True:
        for number in range(runs):
            if settled_outcome(sweep, token, number) is None:
                folder = sweep / f"run-{number}"
                write_outcome(Outcome(folder, work(folder, number, seconds, fatal)), sweep, token, number)
        if not wait_for_others(sweep, token):
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), {int(number) for number in sys.argv[4:]})
