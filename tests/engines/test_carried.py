"""What all launchers of ours share: which runs an engine is given, and what is said where there is none."""

from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from peftlab.errors import MissingPackageError
from peftlab.job import Job
from peftlab.launchers.carried import CarryingLauncher, engine, returned
from peftlab.outcome import Outcome, write_outcome


class Backwards(CarryingLauncher):
    """An engine that does the last run first."""

    def carry(self, jobs: Any, sweep: Path) -> list[JobReturn]:
        self.carried = [job.number for job in jobs]
        backwards = {job.number: returned(job.overrides, Outcome(sweep, "finished")) for job in reversed(jobs)}
        return [backwards[job.number] for job in jobs]


def launched(sweep: Path, statuses: dict[int, Any]) -> tuple[list[int], list[str]]:
    """Return which of four runs the engine was given, and the overrides of all as Hydra is told of them."""
    job = Job(("train.py",), "token", Path("conf"))
    for number, status in statuses.items():
        write_outcome(Outcome(sweep / str(number), status), sweep, job.token, number)
    launcher = Backwards()
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(sweep)}}})
    launcher.setup(hydra_context=object(), task_function=job, config=config)  # type: ignore[arg-type]
    done = launcher.launch([[f"seed={seed}"] for seed in range(4)], 2)
    assert {one.status for one in done} == {JobStatus.COMPLETED}
    return launcher.carried, [str(one.overrides[0]) for one in done]


@pytest.mark.parametrize(
    ("statuses", "carried"),
    [
        ({}, [2, 3, 4, 5]),
        ({3: "finished", 5: "crashed"}, [2, 4]),
        ({2: "interrupted", 3: "busy", 4: "started", 5: "mistake"}, [2, 3, 4]),
    ],
)
def test_the_engine_is_given_what_no_process_has_settled(statuses, carried, tmp_path):
    assert launched(tmp_path, statuses) == (carried, ["seed=0", "seed=1", "seed=2", "seed=3"])


def test_an_engine_that_is_not_installed_is_told_with_its_extra():
    with pytest.raises(MissingPackageError, match=r"^hydra/launcher=slurm: needs the package nowhere: .*slurm"):
        engine("nowhere", "slurm")
