"""One job of a command: a run, done wherever a launcher has carried it, and what became of it."""

import logging
import multiprocessing
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from peftlab import hydra_errors
from peftlab.apart import Part, needs_several, run_apart
from peftlab.cache import RunCache
from peftlab.command_line import working_for
from peftlab.errors import BusyError, UserError, require, shown
from peftlab.imports import import_to_stay
from peftlab.job_files import write_command, write_job_files
from peftlab.job_lines import first_line, last_line
from peftlab.outcome import (
    BY_ANOTHER,
    Outcome,
    outcome_of_error,
    progress_of,
    settled_outcome,
    write_outcome,
)
from peftlab.redaction import redact
from peftlab.run_config import read_config
from peftlab.search_path import ReplayedFolder
from peftlab.signals import held_back
from peftlab.terminal import working

log = logging.getLogger(__name__)

# Backbones and tasks that a sweep holds in memory; a sweep over tasks comes back to each again and again.
KEPT = 2


@dataclass(frozen=True)
class Job:
    """What Hydra calls for each run; it is carried to other processes and machines, so it holds plain values alone.

    Args:
        command: the words that were typed.
        token: tells the files of this command from another's in the same sweep's folder.
        conf: the folder of the configuration.
    """

    command: tuple[str, ...]
    token: str
    conf: Path

    def __call__(self, config: DictConfig) -> Outcome:
        """Do one run unless it had finished before, and return what became of it; of a sweep's run, leave a file too.

        A failure is told at once and is an outcome like any other: it does not stop the runs after it.
        """
        hydra = HydraConfig.get()
        folder, sweep = Path(hydra.runtime.output_dir), Path(hydra.sweep.dir)
        _prepare_process()
        with working_for(self.command):
            if hydra.mode != RunMode.MULTIRUN:
                return self._single(config, folder)
            if settled := settled_outcome(sweep, self.token, hydra.job.num):
                return settled  # the command begins again for what other processes left undone
            write_outcome(Outcome(folder, "started"), sweep, self.token, hydra.job.num)
            try:
                part = Part(str(sweep.absolute()), self.token, hydra.job.num)
                outcome = self._done(config, folder, _cache_of(self.token), part)
            except KeyboardInterrupt:
                write_outcome(Outcome(folder, "interrupted"), sweep, self.token, hydra.job.num)
                raise
            write_outcome(outcome, sweep, self.token, hydra.job.num)
            log.info("%s", last_line(outcome, progress_of(sweep, self.token)))
            return outcome

    def _single(self, config: DictConfig, folder: Path) -> Outcome:
        part = Part.of_environment()
        if part:
            part.end_with_sweep()
        outcome = self._done(config, folder, RunCache(), part)
        if part:
            part.write(outcome)
        return outcome

    def _done(self, config: DictConfig, folder: Path, cache: RunCache, part: Part | None) -> Outcome:
        """Do a run, a part of a sweep or none, and return what became of it."""
        hydra = HydraConfig.get()
        is_sweep = hydra.mode == RunMode.MULTIRUN
        begin = partial(write_job_files, config, hydra, self.command, is_sweep)
        try:
            plain = self._plain(config)
            _check_callbacks(plain)
            read_config(plain)
            if is_sweep and part and needs_several(plain):
                write_command(Path(hydra.sweep.dir), self.command, hydra)
                return run_apart(part, folder, hydra.overrides.task, self.command)
            log.info("%s", first_line(plain, folder))
            return _run(plain, folder, cache, begin, part.begun if part else None)
        except UserError as error:
            if part and isinstance(error, BusyError):
                log.info("%s; on to the next", error)
                return outcome_of_error(folder, "busy", error)
            log.error("%s", error)
            with suppress(OSError):
                folder.rmdir()  # Hydra's; it is empty where the run was refused before it began
            return outcome_of_error(folder, "mistake", error)
        except Exception as error:
            log.exception("%s crashed", folder.name)
            return outcome_of_error(folder, "crashed", f"{type(error).__name__}: {error}")

    def _plain(self, config: DictConfig) -> dict[str, Any]:
        try:
            plain = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        except OmegaConfBaseException as error:
            raise UserError(hydra_errors.in_one_line(error, list(self.command[1:]), self.conf)) from error
        assert isinstance(plain, dict)
        if isinstance(plain.get("recipe"), dict):
            plain["recipe"]["name"] = HydraConfig.get().runtime.choices.get("recipe")
        return {str(name): value for name, value in plain.items()}


def tell(message: object) -> None:
    """Print one line on stderr."""
    print(f"error: {redact(shown(message))}", file=sys.stderr)


def quiet_libraries() -> None:
    """Switch off what libraries print unasked, before they are imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    logging.captureWarnings(True)


def _run(
    config: dict[str, Any], folder: Path, cache: RunCache, begin: Callable[[], None], shared_since: int | None
) -> Outcome:
    with working("starting torch and transformers"), held_back():
        import_to_stay("peftlab.run")
        from peftlab.pool import FailedElsewhereError, is_since
        from peftlab.results.record import FILE_NAME, RunRecord
        from peftlab.run import run_unless_finished

    try:
        done = run_unless_finished(config, folder, cache, begin, shared_since)
    except FailedElsewhereError as error:
        log.error("%s: failed in another process: %s", folder.name, error)
        return error.outcome
    record = RunRecord.read(folder) if (folder / FILE_NAME).exists() else None
    score = record.metric.validation if record is not None and record.metric is not None else None
    if not done:
        by = BY_ANOTHER if is_since(folder, shared_since) else ""
        return Outcome(folder, "already finished", by, score)
    if record is not None and record.status == "skipped":
        return Outcome(folder, "skipped", record.reason or "")
    return Outcome(folder, "finished", score=score)


def _check_callbacks(config: dict[str, Any]) -> None:
    """Refuse code that is run where a folder that is resumed, and not the user, says what the configuration is."""
    trainer, sources = config.get("trainer"), HydraConfig.get().runtime.config_sources
    named = isinstance(trainer, dict) and bool(trainer.get("callbacks"))
    foreign = [source.path for source in sources if source.schema == ReplayedFolder.scheme()]
    require(
        not (named and foreign),
        f"trainer.callbacks: resume takes code from no folder; if {', '.join(foreign)} is yours, name it: "
        "--config-dir FOLDER",
    )


def _prepare_process() -> None:
    """Make the process that a launcher has begun like one that began with the command."""
    quiet_libraries()
    # Joblib's processes would begin those of a data loader in joblib's own way, which torch's do not know.
    if multiprocessing.get_start_method(allow_none=True) == "loky":
        multiprocessing.set_start_method(multiprocessing.get_all_start_methods()[0], force=True)


@lru_cache(maxsize=1)
def _cache_of(token: str) -> RunCache:
    """Return what the runs of one command share in this process."""
    return RunCache(KEPT)
