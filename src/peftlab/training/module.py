"""One LightningModule around any backbone with any strategy."""

from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor
from torchmetrics import MeanMetric

from peftlab.backbones.backbone import Backbone
from peftlab.errors import require
from peftlab.strategies.contract import Strategy
from peftlab.tasks.metrics import evaluate
from peftlab.tasks.task import Task
from peftlab.training.lightning_internals import restart_optimisers
from peftlab.training.optimiser import build_optimiser, build_schedule, clip_groups
from peftlab.training.phases import PhaseSchedule
from peftlab.training.settings import TrainingSettings

Batch = dict[str, Tensor]


def task_loss(task: Task, logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits [B, C], or the mean squared error of a regression's [B, 1]."""
    if task.is_regression:
        return F.mse_loss(logits.squeeze(-1), labels.float())
    return F.cross_entropy(logits, labels)


class FineTuning(LightningModule):
    """Tunes a backbone on a task with a strategy that is attached before the optimiser is made.

    Args:
        backbone: the model to tune.
        strategy: how to tune it; attached by the pre-fit callback.
        task: names labels and metrics.
        settings: learning rate, weight decay, warm-up.
        evaluation_names: what the evaluation loaders hold, such as ``validation``, ``validation_mismatched``.
    """

    def __init__(
        self,
        backbone: Backbone,
        strategy: Strategy,
        task: Task,
        settings: TrainingSettings,
        evaluation_names: dict[str, list[str]],
    ) -> None:
        super().__init__()
        self.model = backbone.model
        self.strategy = strategy
        self.task = task
        self.settings = settings
        self.results: dict[str, float] = {}
        self.predictions: dict[str, tuple[Tensor, Tensor]] = {}
        self.tokens_seen = 0
        self._tokens = torch.zeros((), dtype=torch.int64)
        self.examples_seen = 0
        self._mean_loss = MeanMetric(nan_strategy="disable")
        self._stages: PhaseSchedule | None = None
        self._begun_stage = 0
        self._inputs = set(backbone.tokenizer.model_input_names)
        self._names = evaluation_names
        self._collected: dict[str, list[tuple[Tensor, Tensor]]] = {}
        # A checkpoint holds what is trained; the frozen weights come from the backbone's own files.
        self.strict_loading = False

    def forward(self, batch: Batch) -> Tensor:
        """Return logits [B, C] in float32."""
        inputs = {name: value for name, value in batch.items() if name in self._inputs}
        return self.model(**inputs).logits.float()

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of a batch."""
        return task_loss(self.task, logits, labels)

    def on_fit_start(self) -> None:
        """Compile the model if that is asked for, as the strategy has made it."""
        if self.settings.compile is not None:
            self.model.compile(backend=self.settings.compile, dynamic=True)

    def on_train_start(self) -> None:
        """Switch dropout on: an epoch that is gone on with in its middle has no start."""
        self.strategy.train_mode()

    def on_train_epoch_start(self) -> None:
        """Switch dropout on as the strategy wants it; Lightning keeps the mode a model comes in: evaluation."""
        self.strategy.train_mode()

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Where a stage of the strategy begins: begin the optimiser and its schedule anew."""
        if self.stages.advance(self.trainer.global_step):
            restart_optimisers(self.trainer)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the loss of one batch, with the strategy's penalty."""
        loss = self.loss(self(batch), batch["labels"])
        penalty = self.strategy.penalty()
        if penalty is not None:
            loss = loss + penalty
        self.examples_seen += len(batch["labels"])
        # Added up where it is: reading it at every step would make the device wait.
        self._tokens = self._tokens + batch["attention_mask"].sum()
        size = len(batch["labels"])
        self._mean_loss.update(loss.detach(), size)
        self.log("train/loss_step", loss, on_step=True, on_epoch=False, batch_size=size, sync_dist=True)
        self.log("train/loss_epoch", self._mean_loss, on_step=False, on_epoch=True)
        self.log("loss", loss, prog_bar=True, logger=False)
        return loss

    def on_train_epoch_end(self) -> None:
        """Log what the strategy measures of itself."""
        for name, value in self.strategy.logged_metrics().items():
            self.log(f"train/{name}", value)

    def on_fit_end(self) -> None:
        """Leave the strategy as it is stored, and add up what all ranks have seen."""
        self.stages.finish()
        seen = torch.tensor([self.examples_seen, int(self._tokens)], device=self.trainer.strategy.root_device)
        self.examples_seen, self.tokens_seen = self.trainer.strategy.reduce(seen, reduce_op="sum").tolist()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let the strategy act on the parameters afterwards."""
        super().optimizer_step(*args, **kwargs)
        self.strategy.after_step()

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Let the strategy act on the gradients, before they are clipped."""
        self.strategy.before_step()

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
        """Clip, and let the strategy act on the gradients that the optimiser will see."""
        for part in clip_groups(optimizer):
            super().configure_gradient_clipping(part, *args, **kwargs)
        self.strategy.after_clipping()

    def validation_step(self, batch: Batch, batch_index: int, dataloader_idx: int = 0) -> None:
        """Collect one batch's logits and labels."""
        self._collect("validation", batch, dataloader_idx)

    def test_step(self, batch: Batch, batch_index: int, dataloader_idx: int = 0) -> None:
        """Collect one batch's logits and labels."""
        self._collect("test", batch, dataloader_idx)

    def on_validation_epoch_start(self) -> None:
        """Forget what an earlier evaluation collected."""
        self._collected = {}

    def on_test_epoch_start(self) -> None:
        """Forget what an earlier evaluation collected."""
        self._collected = {}

    def on_validation_epoch_end(self) -> None:
        """Compute and log the metrics of each validation set."""
        self._evaluate()

    def on_test_epoch_end(self) -> None:
        """Compute and log the metrics of each test set."""
        self._evaluate()

    def configure_optimizers(self) -> Any:
        """Return AdamW over the strategy's groups and its schedule for the present stage, stepped at each step.

        Raises:
            UserError: the strategy exchanges its parameters while several devices train them.
        """
        if self._stages is None:
            self._stages = PhaseSchedule(self.strategy, int(self.trainer.estimated_stepping_batches), self._begun_stage)
            alone = self.trainer.world_size == 1 or not self._stages.several
            devices = f"trainer.devices={self.trainer.world_size}: strategy {self.strategy.name} trains in stages"
            require(alone, f"{devices}; allowed is 1")
        groups = self.strategy.parameter_groups()
        optimiser = build_optimiser(groups, self.settings.learning_rate, self.settings.weight_decay)
        schedule = build_schedule(optimiser, self._stages.steps, self.settings.warmup)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def stages(self) -> PhaseSchedule:
        """Where training stands among the strategy's stages."""
        assert self._stages is not None, "stages are known once the optimiser is made"
        return self._stages

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep only what is trained, and what else the strategy holds."""
        checkpoint["state_dict"] = {
            name: parameter.detach() for name, parameter in self.named_parameters() if parameter.requires_grad
        }
        checkpoint["strategy"] = self.strategy.state()
        checkpoint["stage"] = self.stages.current

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give the strategy back what it held, in the stage it was in.

        Raises:
            UserError: the checkpoint lacks something that is trained here; it would go on with its first values.
        """
        self.strategy.load_state(checkpoint["strategy"])
        self._begun_stage = checkpoint["stage"]
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        lacking = sorted(trained ^ checkpoint["state_dict"].keys())
        require(not lacking, f"checkpoint: its tensors are not those trained here: {', '.join(lacking[:3])}")

    def progress(self) -> Tensor:
        """Return what this rank has counted, float64 [4]: examples, tokens, the epoch's loss and its weight."""
        loss = self._mean_loss
        counts = [self.examples_seen, int(self._tokens), float(loss.mean_value), float(loss.weight)]
        return torch.tensor(counts, dtype=torch.float64)

    def load_progress(self, counted: Tensor) -> None:
        """Go on counting from what `progress` returned."""
        examples, tokens, value, weight = counted.tolist()
        self.examples_seen, self._tokens = int(examples), torch.tensor(int(tokens))
        self._mean_loss.mean_value.fill_(value)
        self._mean_loss.weight.fill_(weight)

    def _collect(self, stage: str, batch: Batch, loader: int) -> None:
        logits = self(batch)
        name = self._names[stage][loader]
        self._collected.setdefault(name, []).append((logits.cpu(), batch["labels"].cpu()))

    def _evaluate(self) -> None:
        for name, parts in self._collected.items():
            logits, labels = (torch.cat(column) for column in zip(*parts, strict=True))
            self.predictions[name] = (logits, labels)
            for metric, value in evaluate(self.task, logits, labels).items():
                self.results[f"{name}/{metric}"] = value
                self.log(f"{name}/{metric}", value, sync_dist=True)
            # The progress bar has room for one short name.
            primary = self.task.metrics[0]
            if name == "validation":
                self.log(primary, self.results[f"validation/{primary}"], prog_bar=True, logger=False, sync_dist=True)
        self._collected = {}
