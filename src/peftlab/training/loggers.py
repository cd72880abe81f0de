"""Where metrics go while a run trains: CSV always, W&B or TensorBoard when asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger

from peftlab.command_line import install_extra
from peftlab.errors import MissingPackageError, UserError
from peftlab.files import read_text
from peftlab.options.schema import parse_json
from peftlab.training.lightning_internals import csv_text, is_first_rank, restore_csv, whole_csv_logger

METRICS_FILE = "metrics.csv"


class RunLoggers:
    """The loggers of one run: opened once it is known what it is, closed once its record says how it ended.

    Args:
        options: `conf/logger`.
        folder: the run's output folder; closing reads its `result.json`.
    """

    def __init__(self, options: Mapping[str, Any], folder: Path) -> None:
        self._options, self._folder = options, folder
        self._opened: list[Logger] = []

    def open(self, run: Mapping[str, Any]) -> list[Logger]:
        """Open and return the loggers.

        Args:
            run: its `id` (peftlab.identity), `name`, `group` (the run without its seed), `tags` and `config`, and
                whether it is `resumed`.

        Raises:
            UserError: an unknown logger, or one that does not let the run begin.
        """
        if is_first_rank() and not run["resumed"]:
            (self._folder / METRICS_FILE).unlink(missing_ok=True)
        self._opened.append(whole_csv_logger(self._folder))
        match self._options["name"]:
            case "csv":
                pass
            case "tensorboard":
                self._opened.append(TensorBoardLogger(save_dir=self._folder, name="", version="tensorboard"))
            case "wandb":
                try:
                    from peftlab.training import wandb_run  # wandb takes its time to import
                except ModuleNotFoundError as error:
                    what = f"logger=wandb needs {error.name}, which is not installed: {install_extra('wandb')}"
                    raise MissingPackageError(what) from error

                self._opened.append(wandb_run.begin(self._options, self._folder, run))
            case unknown:
                raise UserError(f"logger={unknown}: no such logger; there are csv, tensorboard, wandb")
        return self._opened

    def close(self) -> None:
        """End what loggers keep open, so that the next run of the same process starts its own."""
        record = self._record() if self._opened else {}
        for logger in self._opened:
            logger.finalize("success" if record.get("status") == "finished" else "failed")
            if isinstance(logger, WandbLogger):
                from peftlab.training import wandb_run

                wandb_run.end(logger, self._folder, record, delta=self._options["delta"])
        self._opened = []

    def _record(self) -> dict[str, Any]:
        try:
            record: dict[str, Any] = parse_json(read_text(self._folder / "result.json"))
        except (OSError, ValueError):
            return {}  # a full disk, for example: the run has failed
        return record


def logged_text(loggers: Sequence[Logger]) -> str:
    """Return what the CSV logger has written so far: that of the first rank, since the others write nothing."""
    for logger in loggers:
        if isinstance(logger, CSVLogger) and is_first_rank():
            return csv_text(logger)
    return ""


def take_back_log(loggers: Sequence[Logger], text: str) -> None:
    """Let the CSV logger append to `text`, what it had written when its run was interrupted."""
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            restore_csv(logger, text)
