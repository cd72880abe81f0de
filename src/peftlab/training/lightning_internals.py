"""What of Lightning is used here though Lightning does not promise it: all of it, to be looked at on an upgrade.

`tests/training/test_lightning_internals.py` says what breaks where one of these names is gone.
"""

import csv
import gc
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from torch.optim import Optimizer

from peftlab.files import atomic_file


def is_first_rank() -> bool:
    """Return whether this process is the first of a distributed run, or the only one."""
    return getattr(rank_zero_only, "rank", 0) == 0


def batches_done(trainer: Trainer) -> int:
    """Return how many batches of the present epoch have been trained on."""
    return trainer.fit_loop.epoch_loop.batch_progress.current.completed


def is_logged(trainer: Trainer) -> bool:
    """Return whether loggers are told of the optimiser step that is about to be taken."""
    every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]
    return bool(trainer.loggers) and (trainer.global_step + 1) % every == 0


def unfetch_batch(checkpoint: dict[str, Any]) -> None:
    """Undo in a checkpoint that is written before a batch that the batch was fetched: a resumed run begins with it."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        counts["ready"] -= 1
    progress["is_last_batch"] = False


def restore_logged_steps(trainer: Trainer, checkpoint: Mapping[str, Any]) -> None:
    """Take the count of steps that loggers are told back from a checkpoint.

    Resumed where an evaluation would be due, Lightning counts a step that there was not.
    """
    state = checkpoint["loops"]["fit_loop"]["epoch_loop.state_dict"]
    trainer.fit_loop.epoch_loop._batches_that_stepped = state["_batches_that_stepped"]


def restart_optimisers(trainer: Trainer) -> None:
    """Make optimisers and schedules anew in the midst of training, as the module now configures them.

    Where several devices train, they exchange the gradients of the parameters that the module has now.
    """
    strategy = trainer.strategy
    if isinstance(strategy, DDPStrategy):
        # The former wrapping takes its hooks from the parameters that stay when it is gone, and it is part of a circle.
        strategy.model = trainer.lightning_module
        gc.collect()
        strategy.configure_ddp()
    strategy.setup_optimizers(trainer)


def allow_clipping(optimiser: Optimizer) -> None:
    """Let gradients be clipped under mixed precision.

    A fused optimiser offers to unscale them itself, which Lightning takes as a reason to refuse.
    """
    optimiser._step_supports_amp_scaling = False  # type: ignore[attr-defined]


def relocated_best(state: Mapping[str, Any], file: str, folder: str) -> dict[str, Any]:
    """Return the state of a `ModelCheckpoint` with ``save_top_k=1`` for a `folder` that may have been moved.

    Args:
        state: what the callback had saved.
        file: where the weights are that it had kept; taken only if it had kept any.
        folder: where it keeps weights from now on.
    """
    best = file if state["best_model_path"] else ""
    paths = {"best_model_path": best, "kth_best_model_path": best, "last_model_path": "", "dirpath": folder}
    scores = dict.fromkeys([best] if best else [], state["best_model_score"])
    return {**state, **paths, "best_k_models": scores}


class WholeCsv(ExperimentWriter):
    """What a CSV logger writes with: all rows stay in memory, and the file is at any time a whole one."""

    def save(self) -> None:
        """Write all rows in place of the file."""
        if not self.metrics:
            return
        self._record_new_keys()
        with atomic_file(Path(self.metrics_file_path)) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=self.metrics_keys)
            writer.writeheader()
            writer.writerows(self.metrics)

    def _check_log_dir_exists(self) -> None:
        """Leave an earlier file: its run may be resumed, and be killed before it writes."""


def whole_csv_logger(folder: Path) -> CSVLogger:
    """Return a CSV logger of ``metrics.csv`` in `folder`, written whole or not at all."""
    logger = CSVLogger(save_dir=folder, name="", version="")
    logger._experiment = WholeCsv(log_dir=logger.log_dir)
    return logger


def csv_text(logger: CSVLogger) -> str:
    """Return what a CSV logger has logged so far."""
    logger.save()
    file = Path(logger.log_dir) / logger.experiment.NAME_METRICS_FILE
    return file.read_text(encoding="utf-8") if file.exists() else ""


def restore_csv(logger: CSVLogger, text: str) -> None:
    """Let a CSV logger continue below `text`."""
    logger.experiment.metrics = [*csv.DictReader(io.StringIO(text))]
