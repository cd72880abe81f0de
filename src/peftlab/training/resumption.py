"""An interrupted run is resumed where it was: what a checkpoint holds, when it is written, and how it is read.

Checkpoints are Lightning's own, written before a batch begins, when nothing is half done: all of the batch before,
an evaluation after it included, is in them. Here stands what Lightning leaves out.
"""

import json
import re
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from peftlab.data.module import TaskData
from peftlab.errors import UserError, require
from peftlab.files import content_sha256, remove_files, remove_if_empty
from peftlab.redaction import redact
from peftlab.signals import ENDING
from peftlab.training.callbacks import BEST_FILE, FOLDER, AttachStrategy, Stopwatch
from peftlab.training.checkpoint_files import read_checkpoint
from peftlab.training.lightning_internals import batches_done, restore_logged_steps, unfetch_batch
from peftlab.training.loggers import logged_text, take_back_log
from peftlab.training.module import FineTuning
from peftlab.training.settings import CheckpointOptions

FILE_NAME = "last.safetensors"
_OURS = "resumption"


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints, which only an interrupted run needs; what else lies beside them stays."""
    remove_files(folder / FOLDER, *map(re.escape, (FILE_NAME, BEST_FILE)))
    remove_if_empty(folder / FOLDER)


class Resumption(Callback):
    """Writes checkpoints into `folder` and lets a run begin from the one that is there.

    A signal to end (`peftlab.signals`) waits for the next batch: a checkpoint is written, then the signal takes its
    course. A second one does not wait.

    Args:
        options: when checkpoints are written.
        folder: the run's output folder.
        settings: those that reach a number, as the run has them; a checkpoint is only resumed with the same ones.
        identity: the hash of each part that defines the run; a checkpoint is only resumed on the same data and weights.
        data: is told at which batch to begin.
        begun: `time.perf_counter()` at the run's beginning, earlier by what it had taken before an interruption.

    Its `stopwatch` stands still while a checkpoint is written.
    """

    def __init__(
        self,
        options: CheckpointOptions,
        folder: Path,
        settings: Mapping[str, Any],
        identity: Mapping[str, str],
        data: TaskData,
        begun: float,
    ) -> None:
        self.stopwatch = Stopwatch()
        self.options, self._data, self._begun = options, data, begun
        self._file = folder / FOLDER / FILE_NAME
        self._settings, self._identity = _stored(settings), dict(identity)
        self._found: dict[str, Any] | None = None
        self.is_restoring = False
        self._saved_step, self._saved_at = 0, time.monotonic()
        self._signal: int | None = None
        self._handlers: dict[int, Any] = {}
        self._between_batches = False

    @property
    def checkpoint(self) -> Path | None:
        """Return the checkpoint to begin from, if there is one."""
        return self._file if self._file.exists() else None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note that Lightning takes a checkpoint back next, up to the first batch: what fails then is the file's."""
        self.is_restoring = stage == "fit" and self.checkpoint is not None

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the place in the data and the counts; random states wait, since setting up draws numbers."""
        self._found = checkpoint
        ours = checkpoint[_OURS]
        self._data.begin_at(ours["epoch"], ours["batch"])
        assert isinstance(pl_module, FineTuning)
        pl_module.load_progress(ours["progress"][trainer.global_rank])

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the log back, before anything is added to it."""
        if self._found is not None:
            take_back_log(trainer.loggers, self._found[_OURS]["log"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to hold signals back."""
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()
        if threading.current_thread() is threading.main_thread():
            self._handlers = {number: signal.signal(number, self._hold) for number in ENDING}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Take the rest of a checkpoint back before the first batch; write one where it is time to."""
        if self._found is not None:
            self._take_back(trainer, self._found)
            self._found, self.is_restoring = None, False
        elif trainer.strategy.reduce_boolean_decision(self._is_time(trainer, batch_idx), all=False):
            self._between_batches = True
            self._save(trainer)
            self._between_batches = False
            self._let_through()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last checkpoint: only evaluation is left."""
        if self.options.every_epoch or self._signal is not None:
            self._save(trainer)
        self._let_through()
        self._release()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._release()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning leaves out: random state, the place in the data, counts, the log, the settings."""
        if self._between_batches:
            unfetch_batch(checkpoint)
        assert isinstance(pl_module, FineTuning)
        checkpoint[_OURS] = {
            "settings": json.dumps(self._settings),
            "identity": self._identity,
            "seconds": time.perf_counter() - self._begun,
            "epoch": trainer.current_epoch,
            "batch": batches_done(trainer),
            "random": {device: _of_all_ranks(trainer, state) for device, state in _random_states(trainer).items()},
            "progress": _of_all_ranks(trainer, pl_module.progress()),
            "log": logged_text(trainer.loggers),
        }

    def _is_time(self, trainer: Trainer, batch: int) -> bool:
        if batch % trainer.accumulate_grad_batches:
            return False  # gradients of half a step are in no checkpoint
        options, steps = self.options, trainer.global_step - self._saved_step
        minutes = (time.monotonic() - self._saved_at) / 60
        return (
            self._signal is not None
            or (options.every_epoch and batch == 0 and steps > 0)
            or (options.every_steps is not None and steps >= options.every_steps)
            or (options.every_minutes is not None and minutes >= options.every_minutes)
        )

    def _save(self, trainer: Trainer) -> None:
        with self.stopwatch.stopped():
            trainer.save_checkpoint(self._file, weights_only=False)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    def _take_back(self, trainer: Trainer, checkpoint: dict[str, Any]) -> None:
        for optimiser in trainer.optimizers:
            _check_restored(optimiser)
        ours = checkpoint[_OURS]
        _set_random_states(trainer, {device: states[trainer.global_rank] for device, states in ours["random"].items()})
        restore_logged_steps(trainer, checkpoint)

    def _hold(self, number: int, frame: FrameType | None) -> None:
        waits, self._signal = self._signal is None, number
        if not waits:
            self._let_through()

    def _let_through(self) -> None:
        if self._signal is not None:
            self._release()
            signal.raise_signal(self._signal)

    def _release(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}


def _check_restored(optimiser: Optimizer) -> None:
    """Refuse what a checkpoint made of an optimiser where its next step would fail: a setting or a moment of a weight.

    Raises:
        ValueError: something is missing, or of another type or shape.
    """
    for group in optimiser.param_groups:
        for name, default in optimiser.defaults.items():
            if default is not None and not isinstance(group.get(name), type(default)):
                raise ValueError(f"the optimiser's {name} is {group.get(name)!r}")
        for parameter in group["params"]:
            for name, value in optimiser.state.get(parameter, {}).items():
                if isinstance(value, Tensor) and value.dim() and value.shape != parameter.shape:
                    raise ValueError(f"the optimiser's {name} has shape {list(value.shape)}")


def has_checkpoint(folder: Path) -> bool:
    """Return whether there is a checkpoint to resume from in a run's folder."""
    return (folder / FOLDER / FILE_NAME).exists()


def seconds_taken(folder: Path, settings: Mapping[str, Any]) -> float:
    """Return the seconds a run had taken at its checkpoint in `folder`.

    Args:
        folder: the run's output folder, which has a checkpoint.
        settings: by dotted name, those that reach a number, as the run would now have them: what the recipe gives, too.

    Raises:
        UserError: the checkpoint is damaged, or belongs to a run with other settings or another selection.
    """
    file = folder / FOLDER / FILE_NAME
    checkpoint, ours = _read(folder)
    for name, content in AttachStrategy.saved_files(checkpoint).items():
        selection = folder / name
        require(
            content_sha256(selection) in (None, content),
            f"{selection}: was changed since the run was interrupted; put it back, or remove {file} to start anew",
        )
    before, now = json.loads(ours["settings"]), _stored(settings)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            raise UserError(
                f"{name}={now.get(name)}: {file.parent} holds an interrupted run with {name}={before.get(name)}; "
                "resume with that value, name another folder, or remove this one"
            )
    seconds: float = ours["seconds"]
    return seconds


def resumed_identity(folder: Path) -> dict[str, str]:
    """Return the hash of each part that defines the interrupted run in `folder`; older checkpoints hold none.

    Raises:
        UserError: the checkpoint is damaged.
    """
    identity: dict[str, str] = _read(folder)[1].get("identity", {})
    return identity


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the checkpoint in a run's folder, without its tensors, and what `Resumption` added to it."""
    file = folder / FOLDER / FILE_NAME
    checkpoint = read_checkpoint(file)
    ours = checkpoint.get(_OURS)
    known = isinstance(ours, dict) and "settings" in ours
    require(known, f"{file}: not a checkpoint of an interrupted run; remove it to start anew")
    assert isinstance(ours, dict)
    return checkpoint, ours


def _stored(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings as a checkpoint keeps them: JSON data without secrets."""
    stored: dict[str, Any] = redact(json.loads(json.dumps(settings, default=str)))
    return stored


def _random_states(trainer: Trainer) -> dict[str, Tensor]:
    """Return the state of torch's generators: those of the CPU and of the accelerator; nothing else draws."""
    device = trainer.strategy.root_device
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state()
    return states


def _set_random_states(trainer: Trainer, states: Mapping[str, Tensor]) -> None:
    # Copies: torch reads a state from where its storage begins, and a later rank's begins further on.
    torch.set_rng_state(states["cpu"].clone())
    device = trainer.strategy.root_device
    if device.type in states and device.type != "cpu":
        torch.get_device_module(device).set_rng_state(states[device.type].clone())


def _of_all_ranks(trainer: Trainer, tensor: Tensor) -> Tensor:
    """Return the tensors of all ranks, one below the other, on the CPU."""
    if trainer.world_size == 1:
        return tensor[None]
    gathered: Tensor = trainer.strategy.all_gather(tensor.to(trainer.strategy.root_device))
    return gathered.cpu()
