"""Checks for silent failures: a loss that is no number, a tuned parameter that nothing moves."""

from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from peftlab.errors import UserError
from peftlab.training.module import FineTuning

# An accelerator is asked every so many batches: reading a loss makes it wait.
_PATIENCE = 10
_SHOWN = 8


class FiniteLoss(Callback):
    """Stops the run when the loss of a batch is NaN or infinite.

    Raises:
        UserError: names the step, counted from 1, and the rows of the training set that the batch held.
    """

    def __init__(self) -> None:
        self._unread: list[tuple[int, Tensor, Tensor]] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: dict[str, Tensor], batch_idx: int
    ) -> None:
        """Note the loss of a batch, and read it at once where that costs nothing."""
        self._unread.append((trainer.global_step, outputs["loss"], batch["index"]))
        if outputs["loss"].device.type == "cpu" or len(self._unread) >= _PATIENCE:
            self._read()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Read before weights are evaluated, and perhaps kept."""
        self._read()

    def _read(self) -> None:
        unread, self._unread = self._unread, []
        if not unread or torch.stack([loss for _, loss, _ in unread]).isfinite().all():
            return
        step, loss, index = next(entry for entry in unread if not entry[1].isfinite())
        rows = sorted(index.tolist())
        shown = ", ".join(map(str, rows[:_SHOWN])) + (f" and {len(rows) - _SHOWN} more" if len(rows) > _SHOWN else "")
        raise UserError(
            f"training: the loss is {loss.item()} at step {step} (rows {shown} of the training set, counted from 0); "
            "try a lower training.learning_rate or trainer.precision=32-true"
        )


class CheckGradientFlow(Callback):
    """Refuses a tuned parameter that the first optimiser step has no gradient for; a gradient of zeros is one.

    A strategy that leaves parts out by design (`Traits.sparse_gradients`) is not looked at.

    Raises:
        UserError: names the first such parameter.
    """

    def __init__(self) -> None:
        self._looked = False

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Look once, when all gradients of a step are there."""
        assert isinstance(pl_module, FineTuning)
        attached = pl_module.attached
        if self._looked or attached.strategy.traits.sparse_gradients:
            return
        self._looked = True
        trained = {**attached.tuned(), **attached.classifier()}
        silent = [name for name, parameter in trained.items() if parameter.grad is None]
        if silent:
            raise UserError(
                f"strategy {attached.strategy.name}: {len(silent)} of {len(trained)} parameters have no gradient after "
                f"the first step, {silent[0]} among them; the loss does not depend on them"
            )
