"""What happens around training: the look at the data before it, the best weights, the time each part takes."""

import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from peftlab.backbones.loading import Backbone
from peftlab.data.module import TaskData
from peftlab.files import content_sha256, remove_files
from peftlab.strategies.contract import Selection, SelectionContext, Strategy
from peftlab.streams import Stream, seed_of
from peftlab.tasks.kind import Better
from peftlab.training.checkpoint_files import read_checkpoint
from peftlab.training.frozen import keep_frozen, rounded_matrices
from peftlab.training.lightning_internals import relocated_best
from peftlab.training.module import FineTuning
from peftlab.training.sharding import ShardedBackbone

log = logging.getLogger(__name__)
FOLDER, BEST_FILE = "checkpoints", "best.safetensors"

# What Lightning calls the direction of a metric.
_MODES: dict[Better, str] = {"higher": "max", "lower": "min"}


class AttachStrategy(Callback):
    """Before the optimiser is made: let the strategy look at the data on the accelerator, then attach it.

    The selection is made once, by the first rank, and agreed on by all. `seconds` is the time it took. A run that
    is resumed takes the selection that it saved in its folder.
    """

    def __init__(
        self,
        strategy: Strategy,
        backbone: Backbone,
        data: TaskData,
        seed: int,
        folder: Path,
        resumed: bool = False,
    ) -> None:
        self._resumed = resumed
        self.selection: Selection | None = None
        self.seconds = 0.0
        self._saved: dict[str, str | None] = {}
        self.strategy, self._backbone, self.data = strategy, backbone, data
        self._seed, self._folder = seed, folder

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Select and attach, when training is about to be set up."""
        if stage != "fit":
            return
        started = time.perf_counter()
        device = ShardedBackbone.device_before(trainer)
        torch.nn.Module.to(self._backbone.model, device)
        selection = self._select(device) if trainer.is_global_zero else None
        self.selection = trainer.strategy.broadcast(selection)
        assert isinstance(pl_module, FineTuning)
        seed_everything(seed_of(Stream.INSERTED, self._seed), workers=True, verbose=False)
        rounded = rounded_matrices(self._backbone)
        pl_module.attached = self.strategy.attach(self._backbone, self.selection)
        keep_frozen(pl_module.attached, rounded)
        # Training starts from the same random state whether heads were scored or a selection was reused.
        # Each rank draws its own dropout.
        own = seed_of(Stream.TRAINING, self._seed, trainer.global_rank)
        seed_everything(own, workers=True, verbose=False)
        self.seconds = time.perf_counter() - started
        if trainer.is_global_zero:
            self._save_selection()

    def _select(self, device: torch.device) -> Selection | None:
        if self._resumed and self._has_selection():
            assert self.strategy.selection_type is not None
            return self.strategy.selection_type.load(self._folder)
        # Looking at data must not decide what is drawn when layers are put in.
        with torch.random.fork_rng(devices=[]):
            return self.strategy.select(SelectionContext(self._backbone, self.data, self._seed, device))

    def _save_selection(self) -> None:
        """Leave the selection in the folder, and none of an earlier attempt that had one."""
        if self.selection is not None:
            read, *_ = self.selection.save(self._folder)
            self._saved = {read.name: content_sha256(read)}
            log.info("%s", self.selection.summary())
        elif self.strategy.selection_type is not None:
            remove_files(self._folder, *map(re.escape, self.strategy.selection_type.files))

    def _has_selection(self) -> bool:
        """Return whether an earlier part of the run left a selection: not every variant of a strategy takes one."""
        kind = self.strategy.selection_type
        return kind is not None and kind.fingerprint(self._folder) is not None

    def state_dict(self) -> dict[str, Any]:
        """Return the time that selecting and attaching took, and the content of the selection's file."""
        return {"seconds": self.seconds, "files": self._saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Add the time of the run that is resumed: attaching again is part of the cost."""
        self.seconds += state_dict["seconds"]

    @classmethod
    def saved_files(cls, checkpoint: Mapping[str, Any]) -> dict[str, str]:
        """Return the SHA-256 of the file that the run of a checkpoint would read its selection from, by its name."""
        files: dict[str, str] = checkpoint.get("callbacks", {}).get(cls.__qualname__, {}).get("files", {})
        return files


class Stopwatch(Callback):
    """Measures the seconds spent in training steps and in evaluation, each without the other."""

    def __init__(self) -> None:
        self.training = 0.0
        self.evaluation = 0.0
        self._since: float | None = None  # when training last continued; None: it stands still

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count training."""
        self._since = time.perf_counter()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count training; the evaluations inside it do not belong to it."""
        self._pause()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count an evaluation."""
        self._trained = self._pause()
        self._evaluating = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count an evaluation."""
        now = time.perf_counter()
        self.evaluation += now - self._evaluating
        self._since = now if self._trained else None

    on_test_start = on_validation_start
    on_test_end = on_validation_end

    def seconds(self) -> float:
        """Return the seconds spent in training up to now; an accelerator may have more in its queue."""
        return self.training + (time.perf_counter() - self._since if self._since is not None else 0.0)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Count nothing of what is done inside."""
        trained = self._pause()
        yield
        self._since = time.perf_counter() if trained else None

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds counted so far."""
        return {"training": self.training, "evaluation": self.evaluation}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting from these seconds."""
        self.training, self.evaluation = state_dict["training"], state_dict["evaluation"]

    def _pause(self) -> bool:
        """Count training up to now and let it stand still; return whether it ran."""
        _wait_for_device()
        if self._since is None:
            return False
        self.training += time.perf_counter() - self._since
        self._since = None
        return True


class LearningCurve(Callback):
    """Keeps one row per epoch: the mean training loss, the validation loss and every validation metric.

    `first_loss` is that of the first batch, before any step; None where nothing was trained on.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float | None]] = []
        self.first_loss: float | None = None
        self._validated: dict[str, float] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss before any step."""
        if self.first_loss is None:
            self.first_loss = float(outputs["loss"])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the metrics of an evaluation; the last one of an epoch stands in its row."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self._validated = {name: value for name, value in metrics.items() if name.startswith("validation")}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the row of the epoch that ends."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {"epoch": trainer.current_epoch + 1, "train/loss": metrics.get("train/loss_epoch")}
        self.rows.append({**row, **self._validated})
        self._validated = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far."""
        return {"rows": self.rows, "validated": self._validated, "first_loss": self.first_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on below these rows."""
        self.rows, self._validated = state_dict["rows"], state_dict["validated"]
        self.first_loss = state_dict["first_loss"]


class BestWeights(ModelCheckpoint):
    """Keeps the weights of the best evaluation, in a file of its own; of the last phase of training only.

    Weights of the phases before are not what a strategy stores.
    """

    FILE_EXTENSION = ".safetensors"

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights if they are the best, and final in kind."""
        if _in_last_phase(pl_module):
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights if they are the best, and final in kind."""
        if _in_last_phase(pl_module):
            super().on_train_epoch_end(trainer, pl_module)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint's best score; its file is beside the checkpoint, wherever the folder now is."""
        super().load_state_dict(relocated_best(state_dict, self.format_checkpoint_name({}), str(self.dirpath)))


def best_checkpoint(folder: Path, metric: str | None, better: Better = "higher") -> BestWeights:
    """Return a callback that keeps the weights of the epoch with the best validation `metric`, first on ties.

    None keeps those of the last epoch.
    """
    return BestWeights(
        dirpath=folder / FOLDER,
        filename=Path(BEST_FILE).stem,
        monitor=f"validation/{metric}" if metric else None,
        mode=_MODES[better],
        save_top_k=1,
        save_weights_only=True,
        enable_version_counter=False,
    )


class StopEarly(EarlyStopping):
    """Ends training after `patience` evaluations in a row without a better score; of the last phase of training only.

    Scores of the phases before are not what a strategy stores. `stopped` says whether it has ended training.
    """

    @property
    def stopped(self) -> bool:
        """Whether patience was exhausted."""
        return self.stopping_reason is EarlyStoppingReason.PATIENCE_EXHAUSTED

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let a run that was interrupted after it had ended training not train on."""
        trainer.should_stop = trainer.should_stop or self.stopped

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the score, if its weights are final in kind."""
        if _in_last_phase(pl_module):
            super().on_validation_end(trainer, pl_module)


def early_stopping(metric: str, better: Better, patience: int) -> StopEarly:
    """Return a callback that ends training after `patience` evaluations without a better validation `metric`."""
    return StopEarly(
        f"validation/{metric}",
        mode=_MODES[better],
        patience=patience,
        check_finite=False,  # a metric that is undefined says nothing of the training
        check_on_train_epoch_end=False,
    )


def load_best(checkpoint: ModelCheckpoint, module: LightningModule) -> int | None:
    """Load the best epoch's weights into `module` and return that epoch, counted from 1; None if none was kept."""
    if not checkpoint.best_model_path:
        return None
    content = read_checkpoint(Path(checkpoint.best_model_path))
    module.on_load_checkpoint(content)
    module.load_state_dict(content["state_dict"], strict=False)
    return int(content["epoch"]) + 1


def _in_last_phase(module: LightningModule) -> bool:
    assert isinstance(module, FineTuning)
    return module.phases.in_last


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
