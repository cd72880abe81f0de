"""Where metrics go while a run trains: CSV always, W&B or TensorBoard when asked."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from peftlab.errors import UserError
from peftlab.network import reachable


@contextmanager
def open_loggers(options: Mapping[str, Any], folder: Path, run: Mapping[str, Any]) -> Iterator[list[Logger]]:
    """Give the loggers of one run and close them at its end, whether it was finished or failed.

    Args:
        options: `conf/logger`.
        folder: the run's output folder.
        run: its `name`, `group` (the run without its seed), `tags` and `config`.

    Raises:
        UserError: an unknown logger.
    """
    loggers = _build(options, folder, run)
    failed = True
    try:
        yield loggers
        failed = False
    finally:
        _close(loggers, failed)


def logged_text(loggers: Sequence[Logger]) -> str:
    """Return what the CSV logger has written so far: that of the first rank, since the others write nothing."""
    for logger in loggers:
        if isinstance(logger, CSVLogger) and getattr(rank_zero_only, "rank", 0) == 0:
            logger.save()
            file = Path(logger.log_dir) / logger.experiment.NAME_METRICS_FILE
            return file.read_text(encoding="utf-8") if file.exists() else ""
    return ""


def take_back_log(loggers: Sequence[Logger], text: str) -> None:
    """Let the CSV logger go on below `text`, which is what it had written when its run was interrupted."""
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            logger.experiment.metrics = [*csv.DictReader(io.StringIO(text))]


def _build(options: Mapping[str, Any], folder: Path, run: Mapping[str, Any]) -> list[Logger]:
    loggers: list[Logger] = [CSVLogger(save_dir=folder, name="", version="")]
    match options["name"]:
        case "csv":
            pass
        case "tensorboard":
            loggers.append(TensorBoardLogger(save_dir=folder, name="", version="tensorboard"))
        case "wandb":
            loggers.append(_wandb(options, folder, run))
        case unknown:
            raise UserError(f"logger={unknown}: no such logger; there are csv, tensorboard, wandb")
    return loggers


def _close(loggers: Sequence[Logger], failed: bool) -> None:
    """End what a logger keeps open, so that the next run of the same process starts its own."""
    for logger in loggers:
        logger.finalize("failed" if failed else "success")
        if isinstance(logger, WandbLogger):
            logger.experiment.finish(exit_code=int(failed))


def _wandb(options: Mapping[str, Any], folder: Path, run: Mapping[str, Any]) -> WandbLogger:
    offline = options["offline"]
    if offline is None:
        offline = os.environ.get("WANDB_MODE") == "offline" or not _online()
    return WandbLogger(
        save_dir=folder,
        project=options["project"],
        entity=options["entity"],
        offline=bool(offline),
        name=run["name"],
        group=run["group"],
        tags=run["tags"],
        config=run["config"],
        settings={"silent": True},
    )


def _online() -> bool:
    has_key = bool(os.environ.get("WANDB_API_KEY")) or _in_netrc("api.wandb.ai")
    return has_key and reachable(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))


def _in_netrc(host: str) -> bool:
    for name in (".netrc", "_netrc"):
        try:
            if host in (Path.home() / name).read_text(encoding="utf-8"):
                return True
        except OSError:
            continue
    return False
