"""`hydra/launcher=ray`: each run is a task of Ray's, which gives it its CPUs and its part of a GPU.

Not by hydra-ray-launcher: it asks for cloudpickle below 3 and for boto3, cannot join a cluster that is there
(object_store_memory, facebookresearch/hydra#2893), and ends at the first run whose machine is gone. Here Ray begins
such a run again elsewhere, and it goes on from its checkpoint.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn

from peftlab.errors import UserError
from peftlab.launchers.carried import Carried, CarryingLauncher, engine, killed
from peftlab.outcome import outcomes_by_number

# Unless the user says otherwise. Since 2.52 Ray asks for a token, or for this word; a cluster of one's own listens on
# this machine alone. Lines of different runs that are alike would be shown once.
_VARIABLES = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_COLOR_PREFIX": "0",
}
# What the runs, which are no children of this process, must know of its environment; tokens stay here.
_PASSED = ("PEFTLAB_", "HF_HOME", "HF_HUB_")
_POLL = 1.0  # seconds
_ANSWER = 10.0  # seconds in which a cluster answers
_PATIENCE = 60.0  # seconds that interrupted runs have for their checkpoints
# Seconds that the runs' last lines have for their way, from a file over Ray's log monitor to this process. Its shutdown
# drops what is not there by then, and nothing tells when all is (ray-project/ray#31931, ray-project/kuberay#1975); Ray
# itself waits for half a second where a program ends.
_LAST_LINES = 1.0


class RayLauncher(CarryingLauncher):
    """Hydra's launcher; `options` are `init`, the arguments of `ray.init`, and `remote`, those of `ray.remote`."""

    def carry(self, jobs: Sequence[Carried], sweep: Path) -> Sequence[JobReturn]:
        """Give the runs to Ray and wait until each has ended or Ray has given it up.

        Raises:
            UserError: no cluster listens at the address.
        """
        _check_listens(self.options["init"].get("address"))
        for name, value in _VARIABLES.items():
            os.environ.setdefault(name, value)
        # A run that no machine has the memory for would be begun again for ever.
        os.environ.setdefault("RAY_task_oom_retries", str(self.options["remote"]["max_retries"]))
        ray = engine("ray", "ray")
        try:
            _begin(ray, self.options["init"])
            task = ray.remote(**self.options["remote"])(_done)
            waiting = [task.options(name=f"run {job.number}").remote(job) for job in jobs]
            try:
                return _results(ray, jobs, waiting)
            except KeyboardInterrupt:
                for one in waiting:
                    ray.cancel(one)
                _until_written(sweep, jobs)
                raise
            finally:
                time.sleep(_LAST_LINES)
        finally:
            ray.shutdown()


def _check_listens(address: str | None) -> None:
    """Refuse a HOST:PORT where nobody listens: Ray would ask again for many minutes."""
    host, _, port = str(address).rpartition(":")
    if host and port.isdigit() and "//" not in host:
        try:
            socket.create_connection((host.strip("[]"), int(port)), _ANSWER).close()
        except OSError as error:
            told = error.strerror or error
            raise UserError(f"hydra.launcher.init.address={address}: no cluster of Ray's answers ({told})") from error


def _begin(ray: Any, options: Mapping[str, Any]) -> None:
    """Begin a cluster or join one, and leave SIGTERM its meaning: Ray would end the command without a table."""
    before, ended = signal.getsignal(signal.SIGTERM), False
    try:
        ray.init(**_connection(options))
    except SystemExit:
        ended = True
    finally:
        signal.signal(signal.SIGTERM, before)
    if ended:
        signal.raise_signal(signal.SIGTERM)


def _connection(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `ray.init`: of a user's options those that say something, and what the runs need."""
    given = {name: value for name, value in options.items() if value is not None}
    own = {} if "address" in given else {"address": "local", "include_dashboard": False}
    variables = {name: value for name, value in os.environ.items() if name.startswith(_PASSED)}
    variables["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    environment = given.pop("runtime_env", {})
    variables |= environment.get("env_vars", {})
    return {"logging_level": "warning"} | own | given | {"runtime_env": {**environment, "env_vars": variables}}


def _done(run: Carried) -> JobReturn:
    """Do a run, in a process of Ray's."""
    # Ray blocks it there: a run that is cancelled would write its checkpoint and go on.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return run(engine("ray", "ray").get_runtime_context().get_task_id())


def _until_written(sweep: Path, jobs: Sequence[Carried]) -> None:
    """Wait until each run that had begun has left its outcome, and so its checkpoint: Ray calls it ended at once."""
    token, end = getattr(jobs[0].task, "token", ""), time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        if all(outcome.status != "started" for outcome in outcomes_by_number(sweep, token).values()):
            return
        time.sleep(_POLL / 10)


def _results(ray: Any, jobs: Sequence[Carried], waiting: Sequence[Any]) -> list[JobReturn]:
    """Wait for all tasks, then return what each returned.

    Raises:
        RuntimeError: Ray has given some of them up.
    """
    # Ray looks for signals to this process only between two such calls.
    while ray.wait(list(waiting), num_returns=len(waiting), timeout=_POLL)[1]:
        pass
    results, lost = [], []
    for job, one in zip(jobs, waiting, strict=True):
        try:
            results.append(ray.get(one))
        except ray.exceptions.RayError as error:
            lost.append(f"run {job.number} ({type(error).__name__})")
    if lost:
        raise killed(lost, "Ray's logs")
    return results
