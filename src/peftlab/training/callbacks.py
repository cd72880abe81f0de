"""What happens around training: the look at the data before it, the best weights, the time each part takes."""

import time
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint

from peftlab.backbones.backbone import Backbone
from peftlab.data.module import TaskData
from peftlab.strategies.contract import Preparation, Selection, Strategy
from peftlab.training.module import FineTuning


class AttachStrategy(Callback):
    """Before the optimiser is made: let the strategy look at the data on the accelerator, then attach it.

    The selection is made once, by the first rank, and agreed on by all. `seconds` is the time it took.
    """

    def __init__(self, strategy: Strategy, backbone: Backbone, data: TaskData, seed: int, folder: Path) -> None:
        self.selection: Selection | None = None
        self.seconds = 0.0
        self._strategy, self._backbone, self._data = strategy, backbone, data
        self._seed, self._folder = seed, folder

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Select and attach, when training is about to be set up."""
        if stage != "fit":
            return
        started = time.perf_counter()
        device = trainer.strategy.root_device
        torch.nn.Module.to(self._backbone.model, device)
        preparation = Preparation(self._backbone, self._data, self._seed, device)
        selection = self._strategy.select(preparation) if trainer.is_global_zero else None
        self.selection = trainer.strategy.broadcast(selection)
        if self.selection is not None and trainer.is_global_zero:
            self.selection.save(self._folder)
        self._strategy.attach(self._backbone, self.selection)
        # Training starts from the same random state whether heads were scored or a selection was reused.
        # Each rank draws its own dropout.
        seed_everything(self._seed + trainer.global_rank, workers=True, verbose=False)
        self.seconds = time.perf_counter() - started


class Stopwatch(Callback):
    """Measures the seconds spent in training steps and in evaluation, each without the other."""

    def __init__(self) -> None:
        self.training = 0.0
        self.evaluation = 0.0
        self._started = 0.0
        self._evaluating = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count training."""
        self._started = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count training; the evaluations inside it do not belong to it."""
        _wait_for_device()
        self.training = time.perf_counter() - self._started - self.evaluation

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count an evaluation."""
        _wait_for_device()
        self._evaluating = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count an evaluation."""
        self.evaluation += time.perf_counter() - self._evaluating

    on_test_start = on_validation_start
    on_test_end = on_validation_end


class LearningCurve(Callback):
    """Keeps one row per epoch: the mean training loss and every validation metric."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float | None]] = []

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the row of the epoch that ends."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {name: value for name, value in metrics.items() if name.startswith("validation")}
        self.rows.append({"epoch": trainer.current_epoch + 1, "train/loss": metrics.get("train/loss_epoch"), **row})


class LastStageCheckpoint(ModelCheckpoint):
    """Keeps weights of the last stage of training only: those before it are not what a strategy stores."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights if they are the best, and final in kind."""
        if _in_last_stage(pl_module):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights if they are the best, and final in kind."""
        if _in_last_stage(pl_module):
            super().on_train_epoch_end(trainer, pl_module)


def best_checkpoint(folder: Path, metric: str) -> ModelCheckpoint:
    """Return a callback that keeps the weights of the epoch with the highest validation `metric`, first on ties."""
    return LastStageCheckpoint(
        dirpath=folder / "checkpoints",
        filename="best",
        monitor=f"validation/{metric}",
        mode="max",
        save_top_k=1,
        save_weights_only=True,
        enable_version_counter=False,
    )


def load_best(checkpoint: ModelCheckpoint, module: LightningModule) -> int | None:
    """Load the best epoch's weights into `module` and return that epoch, counted from 1; None if none was kept."""
    if not checkpoint.best_model_path:
        return None
    content: dict[str, Any] = torch.load(checkpoint.best_model_path, map_location="cpu", weights_only=True)
    module.load_state_dict(content["state_dict"], strict=False)
    return int(content["epoch"]) + 1


def _in_last_stage(module: LightningModule) -> bool:
    assert isinstance(module, FineTuning)
    return module.stages.in_last


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
