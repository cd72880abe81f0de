"""`hydra/launcher=slurm`: each run is a job of Slurm's, of one array, by submitit.

Slurm ends a job before its time: a preempted one gets SIGTERM (and SIGUSR2, if the cluster sends the user's signal),
one that comes to its time limit gets SIGUSR2. submitit ignores the first and would end a run in the middle of a step at
the second. Here both end a run as Ctrl-C does: it writes its checkpoint and its record, and only then submitit puts the
job back into the queue, where it goes on from the checkpoint.
"""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn

from peftlab.errors import UserError, require
from peftlab.launchers.carried import Carried, CarryingLauncher, engine, killed, returned
from peftlab.outcome import Outcome
from peftlab.signals import ENDING, Signals

_FOLDER = ".slurm"  # in the sweep's folder: what submitit writes, the runs' stdout and stderr among it
_POLL = 1.0  # seconds between looks for results
_ASK = 5.0  # and between questions to Slurm
_LATE = 15.0  # a result may reach this machine's disk so long after Slurm has ended the job
# A job that was cancelled is wanted no more, and one in the other states Slurm itself has put back into its queue.
_REQUEUED_BY_US = ("RUNNING", "PREEMPTED", "TIMEOUT")


class Attempt:
    """What submitit does for one run: the run, and what follows where Slurm ends it before its time."""

    def __call__(self, run: Carried) -> JobReturn:
        """Do the run; put the job back into Slurm's queue if it is interrupted, unless it was cancelled."""
        requeue: Any = signal.getsignal(_user_signal())  # submitit's own: it counts time limits
        Signals()
        try:
            return run(_job_id())
        except KeyboardInterrupt:
            for number in ENDING:  # no second signal may come in between
                signal.signal(number, signal.SIG_IGN)
            if _state(_job_id()) in _REQUEUED_BY_US:
                requeue(_user_signal(), None)
            return returned(run.overrides, Outcome(Path(), "interrupted"))

    def checkpoint(self, run: Carried) -> Any:
        """Return what the job does when its turn comes again: the same, since the run finds its own checkpoint."""
        return engine("submitit", "slurm").helpers.DelayedSubmission(self, run)


class SlurmLauncher(CarryingLauncher):
    """Hydra's launcher; `options` are those of submitit's `SlurmExecutor`, `max_num_timeout` among them."""

    def carry(self, jobs: Sequence[Carried], sweep: Path) -> Sequence[JobReturn]:
        """Submit the runs as one array and wait until each has left its result or is gone from Slurm.

        Raises:
            UserError: there is no Slurm here, or it refuses the runs.
        """
        submitit = engine("submitit", "slurm")
        for tool in ("sbatch", "srun"):
            require(
                shutil.which(tool) is not None,
                f"hydra/launcher=slurm: this machine has no {tool}; allowed are machines that submit to Slurm",
            )
        options = dict(self.options)
        folder = sweep.absolute() / _FOLDER
        executor = submitit.SlurmExecutor(folder, max_num_timeout=options.pop("max_num_timeout"))
        executor.update_parameters(**{name: value for name, value in options.items() if value is not None})
        try:
            submitted = executor.map_array(Attempt(), jobs)
        except submitit.core.utils.FailedJobError as error:
            raise UserError(f"hydra/launcher=slurm: {' '.join(str(error).split())}") from error
        array = submitted[0].job_id.partition("_")[0]
        print(f"{len(jobs)} runs in Slurm's queue as job {array}; what they say: {folder}/{array}_*", flush=True)
        try:
            gone = _wait(submitted)
        except KeyboardInterrupt:
            print(f"the runs in Slurm's queue go on; scancel {array} ends them", flush=True)
            raise
        if gone:
            raise killed([f"job {one.job_id}" for one in gone], folder)
        return [one.result() for one in submitted]


def _wait(submitted: Sequence[Any]) -> list[Any]:
    """Wait for submitit's jobs to end; return those that left no result.

    Which are in Slurm's hands is asked of its controller: submitit asks its accounting, which not every cluster keeps.
    """
    waiting, lost = list(submitted), list[Any]()
    seen = dict.fromkeys((one.job_id for one in waiting), time.monotonic())
    while waiting := [one for one in waiting if not one.paths.result_pickle.exists() and one not in lost]:
        time.sleep(_POLL)
        now = time.monotonic()
        if now - max(seen.values()) < _ASK:
            continue
        queued = _queued(submitted[0].job_id.partition("_")[0])
        seen |= {one.job_id: now for one in waiting if queued is None or one.job_id in queued}
        lost += [one for one in waiting if now - seen[one.job_id] > _LATE]
    return lost


def _queued(job: str) -> set[str] | None:
    """Return those of a job's array that wait or run; None where Slurm does not answer."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={job}"]
    asked = subprocess.run(command, capture_output=True, text=True)
    if asked.returncode:
        return set() if "Invalid job id" in asked.stderr else None
    return set(asked.stdout.split())


def _job_id() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ["SLURM_JOB_ID"]


def _state(job: str) -> str:
    """Return what Slurm says of a job, as RUNNING."""
    shown = subprocess.run(["scontrol", "--oneliner", "show", "job", job], capture_output=True, text=True)
    return next((word[9:] for word in shown.stdout.split() if word.startswith("JobState=")), "")


def _user_signal() -> signal.Signals:
    """Return the signal that submitit has Slurm send, SIGUSR2 where nobody has chosen another."""
    name = os.environ.get("SUBMITIT_PREEMPT_SIGNAL", "USR2")
    return signal.Signals[f"SIG{name}"]
