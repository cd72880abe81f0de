"""What a command leaves beside a run's results: Hydra's files, its log, and in a sweep's folder the command itself.

Hydra would write them before it is known whether the run is let begin: over those of the run that is at work there, or
of one that is resumed in another way. Here they are written once it begins.
"""

import hashlib
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import yaml
from hydra.conf import HydraConf
from omegaconf import DictConfig, OmegaConf

from peftlab.files import write_bytes_atomic, write_text_atomic
from peftlab.redaction import redact

HYDRA = ".hydra"
# The commands whose runs lie in a sweep's folder, as `resume=` types them again; Hydra knows the latest alone.
COMMANDS, MULTIRUN = ".commands", "multirun.yaml"


def write_job_files(config: DictConfig, hydra: HydraConf, command: Sequence[str], is_sweep: bool) -> None:
    """Write what stands beside a run that begins, and let its log begin.

    Args:
        config: the run's configuration.
        hydra: Hydra's own (`HydraConfig.get()`).
        command: the words that were typed.
        is_sweep: whether the run is one of a sweep.
    """
    folder = Path(hydra.runtime.output_dir)
    if os.environ.get("LOCAL_RANK", "0") == "0":  # of the processes of a distributed run the first
        _write_yaml(folder / HYDRA / "config.yaml", _plain(config))
        _write_yaml(folder / HYDRA / "hydra.yaml", {"hydra": _plain(hydra)})
        _write_yaml(folder / HYDRA / "overrides.yaml", _plain(hydra.overrides.task))
        if is_sweep:
            write_command(Path(hydra.sweep.dir), command, hydra)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, RunLog):
            handler.begin()


@dataclass(frozen=True)
class SweepFiles:
    """What a sweep's folder says of the commands that were typed for it.

    Attributes:
        sweep: the folder.
        latest: Hydra's own file of the latest command; None where there is none.
        commands: the files of all.
        overrides: of the command that begins.
    """

    sweep: Path
    latest: bytes | None
    commands: list[Path]
    overrides: list[str]

    @classmethod
    def read(cls, sweep: Path, overrides: Sequence[str]) -> Self:
        """Return what stands in the folder `sweep`, before a command with these overrides writes there."""
        file = sweep / MULTIRUN
        return cls(sweep, file.read_bytes() if file.is_file() else None, commands_of(sweep), list(overrides))

    def put_back(self, command: Sequence[str]) -> None:
        """Let the folder say what it said, if it did: a command of which nothing came of is none of its commands.

        What other processes that share the folder wrote meanwhile stays. A new folder that holds nothing else goes.
        """
        if self.latest is None:
            if self._is_own() and [path.name for path in self.sweep.iterdir()] == [MULTIRUN]:
                shutil.rmtree(self.sweep)
            return
        if self._is_own():
            write_bytes_atomic(self.sweep / MULTIRUN, self.latest)
        own = _digest(_overrides(command))
        for path in (self.sweep / COMMANDS).glob(f"*-{own}.yaml"):
            if path not in self.commands:
                path.unlink(missing_ok=True)

    def _is_own(self) -> bool:
        try:
            written = yaml.safe_load((self.sweep / MULTIRUN).read_bytes())
            return bool(written["hydra"]["overrides"]["task"] == self.overrides)
        except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            return False


def commands_of(sweep: Path) -> list[Path]:
    """Return the files of the commands whose runs lie in a sweep's folder, in the order in which they were typed.

    Of a command that several processes have begun at once there are several; the first counts.
    """
    found: dict[str, Path] = {}
    for path in sorted((sweep / COMMANDS).glob("*.yaml")):
        found.setdefault(path.stem.rpartition("-")[2], path)
    return list(found.values())


class RunLog(logging.FileHandler):
    """A run's log, which `hydra.job_logging` in `conf/config.yaml` names: what was said before the run begins, waits.

    A disk that takes no more of it is told once, and ends no run. Secrets are hidden.
    """

    def __init__(self, filename: str) -> None:
        super().__init__(filename, encoding="utf-8", delay=True)
        self._waiting: list[logging.LogRecord] | None = []
        self._gave_up = False

    def begin(self) -> None:
        """Write what was said, and from here on what is."""
        waiting, self._waiting = self._waiting or [], None
        for record in waiting:
            self.handle(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, or let it wait."""
        if self._waiting is not None:
            self._waiting.append(record)
            return
        try:
            super().emit(record)
        except OSError as error:  # the file could not be opened
            self._give_up(error)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without secrets."""
        return str(redact(super().format(record)))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Tell what the disk says."""
        self._give_up(sys.exc_info()[1])

    def close(self) -> None:
        """Close the file; what was not written yet may find the disk full."""
        try:
            super().close()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: BaseException | None) -> None:
        if self._gave_up:
            return
        self._gave_up = True
        logging.getLogger().removeHandler(self)
        reason = error.strerror if isinstance(error, OSError) else error
        print(f"{self.baseFilename}: {reason}; the run goes on without its log", file=sys.stderr)


def write_command(sweep: Path, command: Sequence[str], hydra: HydraConf) -> None:
    """Keep the command among those of the sweep's folder, once however often it is typed."""
    overrides = _overrides(command)
    digest = _digest(overrides)
    if not any(path.stem.endswith(digest) for path in commands_of(sweep)):
        sources = _plain(hydra.runtime.config_sources)
        content = {"hydra": {"overrides": {"task": overrides}, "runtime": {"config_sources": sources}}}
        _write_yaml(sweep / COMMANDS / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}-{digest}.yaml", content)


def _overrides(command: Sequence[str]) -> list[str]:
    return [word for word in command if "=" in word and not word.startswith("-")]


def _digest(overrides: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(overrides).encode()).hexdigest()[:16]


def _plain(config: Any) -> Any:
    return OmegaConf.to_container(config, enum_to_str=True)


def _write_yaml(path: Path, content: Any) -> None:
    write_text_atomic(path, yaml.safe_dump(redact(content), sort_keys=False, allow_unicode=True))
