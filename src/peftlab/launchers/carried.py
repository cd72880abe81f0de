"""What every launcher of ours does alike: it carries the runs that are still to be done, and waits for all of them.

Hydra's plugins for these engines wait for one run after the other and end at the first whose process was killed, while
the others go on; and none resumes a run.
"""

import importlib
import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, filter_overrides, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from peftlab.command_line import install_extra
from peftlab.errors import MissingPackageError
from peftlab.job import Job
from peftlab.outcome import Outcome, settled_outcome


@dataclass(frozen=True)
class Carried:
    """A run on its way to another process or machine, where calling it does the run.

    Attributes:
        number: the run's, within its sweep.
        overrides: of the run.
        config: of the sweep.
        context: Hydra's.
        task: what Hydra calls for each run.
        singletons: Hydra's state.
        folder: the one the command was typed in, which relative paths mean; every machine has it.
    """

    number: int
    overrides: list[str]
    config: DictConfig
    context: HydraContext
    task: TaskFunction
    singletons: Any
    folder: Path

    def __call__(self, job_id: str) -> JobReturn:
        """Do the run; `job_id` is what the engine calls it."""
        os.chdir(self.folder)
        Singleton.set_state(self.singletons)
        setup_globals()
        config = self.context.config_loader.load_sweep_config(self.config, self.overrides)
        with open_dict(config.hydra.job):
            config.hydra.job.id, config.hydra.job.num = job_id, self.number
        HydraConfig.instance().set_config(config)
        return run_job(
            task_function=self.task,
            config=config,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
            hydra_context=self.context,
        )


class CarryingLauncher(Launcher):
    """A launcher whose runs are done by an engine; `options` are `hydra.launcher`, but for the class's name."""

    def __init__(self, **options: Any) -> None:
        self.options = {name: _plain(value) for name, value in options.items()}
        self._context: HydraContext | None = None
        self._task: TaskFunction | None = None
        self._config: DictConfig | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Note what is to be carried."""
        self._context, self._task, self._config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Do a batch of runs, but for those of this command that other processes have settled; wait for all.

        Raises:
            MissingPackageError: the engine is not installed.
            RuntimeError: processes were killed, whose runs are named in the table.
        """
        assert self._context is not None
        assert self._task is not None
        assert self._config is not None
        sweep = Path(self._config.hydra.sweep.dir)
        sweep.mkdir(parents=True, exist_ok=True)
        alike = (self._config, self._context, self._task, Singleton.get_state(), Path.cwd())
        jobs, done = [], {}
        for number, overrides in enumerate(job_overrides, start=initial_job_idx):
            settled = settled_outcome(sweep, self._task.token, number) if isinstance(self._task, Job) else None
            if settled is not None:
                done[number] = returned(overrides, settled)
            else:
                jobs.append(Carried(number, list(overrides), *alike))
        if jobs:
            done |= {job.number: one for job, one in zip(jobs, self.carry(jobs, sweep), strict=True)}
        return [done[number] for number in sorted(done)]

    @abstractmethod
    def carry(self, jobs: Sequence[Carried], sweep: Path) -> Sequence[JobReturn]:
        """Do the runs, at least one, and wait for all of them.

        Args:
            jobs: the runs.
            sweep: the sweep's folder, which all machines share.
        """


def returned(overrides: Sequence[str], outcome: Outcome) -> JobReturn:
    """Return what Hydra is told of a run with a known outcome."""
    told = JobReturn(overrides=filter_overrides(overrides), status=JobStatus.COMPLETED)
    told.return_value = outcome
    return told


def engine(module: str, extra: str) -> Any:
    """Return the package that speaks with an engine.

    Raises:
        MissingPackageError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"hydra/launcher={extra}: needs the package {module}: {install_extra(extra)}"
        ) from error


def killed(names: Sequence[str], where: object) -> RuntimeError:
    """Return the error that names the processes that left no word."""
    return RuntimeError(f"no word from {', '.join(names)}: killed, or never began; see {where}")


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
