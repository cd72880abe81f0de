"""What is logged of training steps besides their loss: the rate, the gradients' norm, the speed."""

from collections.abc import Iterable

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from peftlab.training.callbacks import Stopwatch
from peftlab.training.lightning_internals import is_logged
from peftlab.training.module import FineTuning


class StepLog(Callback):
    """Logs every `trainer.log_every_n_steps` steps, beside the loss of that step:

    - ``train/learning_rate``: what it is taken with, of the parameters that follow the run's schedule;
    - ``train/gradient_norm``: the L2 norm of all gradients before they are clipped;
    - ``train/examples_per_second``: of training since it was last logged, on all devices; evaluations do not count.

    Args:
        stopwatch: counts the seconds of training.
    """

    def __init__(self, stopwatch: Stopwatch) -> None:
        self._stopwatch = stopwatch
        self._examples, self._seconds = 0, 0.0  # when it was last logged

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from here on: what an interrupted run had done is not this process's speed."""
        assert isinstance(pl_module, FineTuning)
        self._examples, self._seconds = pl_module.examples_seen, self._stopwatch.seconds()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Log where the step will be: all of its gradients are there, none is clipped yet."""
        if not is_logged(trainer):
            return
        assert isinstance(pl_module, FineTuning)
        examples, seconds = pl_module.examples_seen, self._stopwatch.seconds()
        speed = (examples - self._examples) * trainer.world_size / max(seconds - self._seconds, 1e-9)
        self._examples, self._seconds = examples, seconds
        pl_module.log("train/learning_rate", _rate(optimizer))
        pl_module.log("train/gradient_norm", _norm(p for group in optimizer.param_groups for p in group["params"]))
        pl_module.log("train/examples_per_second", speed)


def _rate(optimizer: Optimizer) -> float:
    groups = optimizer.param_groups
    first = next((group for group in groups if group.get("schedule") == "run"), groups[0])
    return float(first["lr"])


def _norm(parameters: Iterable[Tensor]) -> Tensor:
    return torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
