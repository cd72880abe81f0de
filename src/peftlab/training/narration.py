"""What a run tells while it trains: how training begins, what each epoch gave, and a bar for what is under way."""

import logging
import math
import time
from collections.abc import Mapping
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ProgressBar
from rich.progress import TaskID

from peftlab.data.module import TaskData
from peftlab.results.scores import Scale
from peftlab.tasks.kind import Metric
from peftlab.terminal import DETAIL, new_bars
from peftlab.training.callbacks import LearningCurve
from peftlab.training.module import FineTuning

log = logging.getLogger(__name__)

_EVERY_SECONDS = 0.5  # reading a loss makes an accelerator wait


class Narrator(Callback):
    """Says in lines how training begins and what each epoch gave, which `curve`, a callback before it, knows.

    Args:
        curve: its rows.
        metrics: of the task's kind: how their values are shown.
    """

    def __init__(self, curve: LearningCurve, metrics: Mapping[str, Metric]) -> None:
        self._curve, self._metrics = curve, metrics
        self._begun = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what is tuned and with which settings."""
        assert isinstance(pl_module, FineTuning)
        self._begun = time.perf_counter()
        if trainer.is_global_zero:
            log.info("tuned: %s", _what(pl_module))
            log.info("training: %s", _how(trainer, pl_module))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what the epoch gave."""
        now = time.perf_counter()
        epoch, loss, *metrics = self._curve.rows[-1].items()
        parts = [] if loss[1] is None else [f"loss {loss[1]:.3f}"]
        parts += [f"{_short(name)} {self._shown(name, value)}" for name, value in metrics]
        if trainer.is_global_zero:
            seconds = f"({now - self._begun:.1f} s)"
            log.info("epoch %s%s: %s %s", epoch[1], _of_all(trainer), ", ".join(parts), seconds, extra=DETAIL)
        self._begun = now

    def _shown(self, name: str, value: float | None) -> str:
        metric = self._metrics.get(name.rpartition("/")[2])
        if value is None or metric is None:
            return "–" if value is None else f"{value:.3f}"
        scale = Scale(name, metric.better, metric.unit)
        return scale.text(scale.score(value))


class Bar(ProgressBar):
    """A bar for the epoch or the evaluation that is under way; nothing is left of it when it has ended."""

    def __init__(self) -> None:
        super().__init__()
        self._bars = new_bars()
        self._tasks: list[TaskID] = []
        self._read = 0.0

    def disable(self) -> None:
        """Show no bar, as Lightning asks on all ranks but the first."""
        self._bars.disable = True

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the bar of an epoch."""
        self._begin(f"epoch {trainer.current_epoch + 1}{_of_all(trainer)}", self.total_train_batches)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Say how far the epoch is, and now and then the loss."""
        if not self._tasks:  # an epoch that is resumed in its middle has no start
            self.on_train_epoch_start(trainer, pl_module)
        self._bars.update(self._tasks[-1], completed=batch_idx + 1)
        if time.monotonic() - self._read > _EVERY_SECONDS and not self._bars.disable:
            self._read = time.monotonic()
            self._bars.update(self._tasks[-1], note=f"loss {float(outputs['loss']):.3f}")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the bar of an epoch."""
        if self._tasks:
            self._end()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the bar of an evaluation."""
        self._begin("validation", sum(trainer.num_val_batches))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the bar of an evaluation."""
        self._begin("test", sum(trainer.num_test_batches))

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        """Say how far an evaluation is."""
        self._bars.advance(self._tasks[-1])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the bar of an evaluation."""
        self._end()

    def on_test_batch_end(self, trainer: Trainer, pl_module: LightningModule, *rest: Any) -> None:
        """Say how far an evaluation is."""
        self._bars.advance(self._tasks[-1])

    on_test_end = on_validation_end

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the terminal as it was."""
        while self._tasks:
            self._end()

    def _begin(self, about: str, total: float) -> None:
        self._bars.start()
        self._tasks.append(self._bars.add_task(about, total=total if math.isfinite(total) else None, note=""))

    def _end(self) -> None:
        self._bars.remove_task(self._tasks.pop())
        if not self._tasks:
            self._bars.stop()


def _of_all(trainer: Trainer) -> str:
    return f" of {trainer.max_epochs}" if trainer.max_epochs is not None and trainer.max_epochs > 0 else ""


def _how(trainer: Trainer, module: FineTuning) -> str:
    """Return the examples and the settings of training in a line."""
    data = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, TaskData)
    groups = trainer.accumulate_grad_batches * trainer.world_size
    batch = f"batch {data.batch_size}" + (f" × {groups}" if groups > 1 else "")
    epochs = "1 epoch" if trainer.max_epochs == 1 else f"{trainer.max_epochs} epochs"
    length = f"{epochs} of {trainer.num_training_batches} batches"
    if trainer.max_steps > 0:
        length = f"at most {trainer.max_steps} steps"
    validation = sum(len(data.splits[name]) for name in data.validation_names)
    parts = [f"{len(data.splits['train']):,} examples", batch, f"rate {module.settings.learning_rate:g}", length]
    place = f"{trainer.precision} on {trainer.strategy.root_device.type}"
    return f"{', '.join(parts)}, {place}; {validation:,} for validation"


def _what(module: FineTuning) -> str:
    """Return how much is tuned in a line."""
    attached = module.attached
    tuned, total = attached.num_tuned(), attached.backbone.size
    classifier = sum(parameter.numel() for parameter in attached.classifier().values())
    if not tuned:
        return f"the classifier's {classifier:,} weights alone"
    sizes = "".join(f"; {name} {value}" for name, value in attached.sizes.items())
    return f"{tuned:,} of {total:,} weights ({100 * tuned / total:.2f} %) and the classifier's {classifier:,}{sizes}"


def _short(name: str) -> str:
    """Return the name of a validation metric without the split; the loss is also one of training."""
    return name.replace("/", " ") if name.endswith("/loss") else name.removeprefix("validation/")
