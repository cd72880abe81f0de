"""One LightningModule around any backbone with any strategy."""

from collections.abc import Callable
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor

from peftlab.backbones.checkpointing import checkpoint_layers
from peftlab.backbones.forward import inputs_of
from peftlab.backbones.loading import Backbone
from peftlab.errors import require
from peftlab.inputs.encoder import Batch, num_examples, num_tokens
from peftlab.strategies.attached import Attached
from peftlab.tasks.kind import Predictions, TaskKind
from peftlab.training.lightning_internals import restart_optimisers
from peftlab.training.means import MeanGradient, MeanLoss
from peftlab.training.optimiser import build_optimiser, build_schedule, clip_groups
from peftlab.training.phases import PhaseSchedule
from peftlab.training.settings import TrainingSettings


class FineTuning(LightningModule):
    """Tunes a backbone on a task, once a strategy is attached to it (`attached`), before the optimiser is made.

    Args:
        backbone: the model to tune.
        kind: the loss, the predictions and the metrics of the task.
        settings: learning rate, weight decay, warm-up.
        evaluation_names: what the evaluation loaders hold, such as ``validation``, ``validation_mismatched``.
    """

    def __init__(
        self,
        backbone: Backbone,
        kind: TaskKind,
        settings: TrainingSettings,
        evaluation_names: dict[str, list[str]],
    ) -> None:
        super().__init__()
        self.model = backbone.model
        self._attached: Attached | None = None
        self.kind = kind
        self.settings = settings
        self.results: dict[str, float] = {}
        self.predictions: dict[str, Predictions] = {}
        self.tokens_seen = 0
        self._tokens = torch.zeros((), dtype=torch.int64)
        self.examples_seen = 0
        self._mean_loss, self._mean_gradient = MeanLoss(), MeanGradient()
        self._phases: PhaseSchedule | None = None
        self._begun_phase = 0
        self._keep_activations: Callable[[], None] = lambda: None  # undoes gradient checkpointing
        self._backbone = backbone
        self._names = evaluation_names
        self._collected: dict[str, list[Predictions]] = {}
        self._losses: dict[str, list[tuple[Tensor, int | Tensor]]] = {}  # of batches: the loss, and of how many terms
        # A checkpoint holds what is trained; the frozen weights come from the backbone's own files.
        self.strict_loading = False

    def forward(self, batch: Batch) -> Any:
        """Return what the model gives for a batch, which the kind of the task reads."""
        return self.model(**inputs_of(self._backbone, batch))

    def on_fit_start(self) -> None:
        """Checkpoint and compile the model where that is asked for, as the strategy has made it."""
        if self.settings.gradient_checkpointing:
            self._keep_activations = checkpoint_layers(self._backbone.view)
        if self.settings.compile is not None:
            self.model.compile(backend=self.settings.compile, dynamic=True)

    def on_train_start(self) -> None:
        """Switch dropout on: an epoch that is resumed in its middle has no start."""
        self.model.train()

    def on_train_epoch_start(self) -> None:
        """Switch dropout on: Lightning keeps the mode a model comes in, evaluation."""
        self.model.train()

    def on_train_batch_start(self, batch: Batch, batch_index: int) -> None:
        """Where a phase of the strategy begins: begin the optimiser and its schedule anew."""
        if self.phases.advance(self.trainer.global_step):
            restart_optimisers(self.trainer)

    def training_step(self, batch: Batch, batch_index: int) -> Tensor:
        """Return the loss of one batch, with the strategy's penalty."""
        loss, size, terms = self.kind.loss(self(batch), batch), num_examples(batch), self.kind.loss_terms(batch)
        penalty = self.attached.penalty()
        if penalty is not None:
            loss = loss + penalty
        self.examples_seen += size
        # Added up where it is: reading it at every step would make the device wait.
        self._tokens = self._tokens + num_tokens(batch)
        self._mean_loss.update(loss.detach(), terms)
        if self._adds_up:
            begins = batch_index % self.trainer.accumulate_grad_batches == 0
            self._mean_gradient.add(terms, begins, self._mean_of_ranks)
        self.log("train/loss_step", loss, on_step=True, on_epoch=False, batch_size=size, sync_dist=True)
        self.log("train/loss_epoch", self._mean_loss, on_step=False, on_epoch=True)
        self.log("loss", loss, prog_bar=True, logger=False)
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Add to the gradients, which are a mean over the examples of all batches and ranks of a step."""
        if self._adds_up:
            groups = self.trainer.optimizers[0].param_groups
            # Lightning has divided by the number of batches, alike for short ones and in a short group.
            whole = loss * self.trainer.accumulate_grad_batches
            loss = self._mean_gradient.weigh(whole, (p for group in groups for p in group["params"]))
        super().backward(loss, *args, **kwargs)

    def on_train_epoch_end(self) -> None:
        """Log what the strategy measures of itself."""
        for name, value in self.attached.logged_metrics().items():
            self.log(f"train/{name}", value, sync_dist=True)

    def on_fit_end(self) -> None:
        """Leave the strategy as it is stored, and add up what all ranks have seen."""
        self._keep_activations()
        self.phases.finish()
        seen = torch.tensor([self.examples_seen, int(self._tokens)], device=self.trainer.strategy.root_device)
        self.examples_seen, self.tokens_seen = self.trainer.strategy.reduce(seen, reduce_op="sum").tolist()

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, and let the strategy act on the parameters afterwards."""
        super().optimizer_step(*args, **kwargs)
        self.attached.after_step()

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> None:
        """Clip, and let the strategy act on the gradients that the optimiser will see."""
        for part in clip_groups(optimizer):
            super().configure_gradient_clipping(part, *args, **kwargs)
        self.attached.after_clipping()

    def validation_step(self, batch: Batch, batch_index: int, dataloader_idx: int = 0) -> None:
        """Collect one batch's predictions and loss."""
        self._collect("validation", batch, dataloader_idx)

    def test_step(self, batch: Batch, batch_index: int, dataloader_idx: int = 0) -> None:
        """Collect one batch's predictions and loss."""
        self._collect("test", batch, dataloader_idx)

    def on_validation_epoch_start(self) -> None:
        """Forget what an earlier evaluation collected."""
        self._forget()

    def on_test_epoch_start(self) -> None:
        """Forget what an earlier evaluation collected."""
        self._forget()

    def on_validation_epoch_end(self) -> None:
        """Compute and log the metrics of each validation set."""
        self._evaluate()

    def on_test_epoch_end(self) -> None:
        """Compute and log the metrics of each test set."""
        self._evaluate()

    def configure_optimizers(self) -> Any:
        """Return AdamW over the strategy's groups and its schedule for the present phase, stepped at each step."""
        if self._phases is None:
            self._phases = PhaseSchedule(self.attached, int(self.trainer.estimated_stepping_batches), self._begun_phase)
        groups = self.attached.parameter_groups()
        optimiser = build_optimiser(groups, self.settings.learning_rate, self.settings.weight_decay)
        steps = self._phases.steps
        schedule = build_schedule(optimiser, steps, self.settings.warmup_share(steps), self.settings.schedule)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @property
    def attached(self) -> Attached:
        """The strategy on the backbone."""
        assert self._attached is not None, "a strategy is attached before training"
        return self._attached

    @attached.setter
    def attached(self, attached: Attached) -> None:
        self._attached = attached

    @property
    def phases(self) -> PhaseSchedule:
        """Where training stands among the strategy's phases."""
        assert self._phases is not None, "phases are known once the optimiser is made"
        return self._phases

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep only what is trained, and what else the strategy holds."""
        checkpoint["state_dict"] = {
            name: parameter.detach() for name, parameter in self.named_parameters() if parameter.requires_grad
        }
        checkpoint["strategy"] = self.attached.state()
        checkpoint["phase"] = self.phases.current

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Give the strategy back what it held, in the phase it was in.

        Raises:
            UserError: the checkpoint lacks something that is trained here; it would resume with its first values.
        """
        self.attached.load_state(checkpoint["strategy"])
        self._begun_phase = checkpoint["phase"]
        trained = {name for name, parameter in self.named_parameters() if parameter.requires_grad}
        lacking = sorted(trained ^ checkpoint["state_dict"].keys())
        require(not lacking, f"checkpoint: its tensors are not those trained here: {', '.join(lacking[:3])}")

    def progress(self) -> Tensor:
        """Return what this rank has counted, float64 [4]: examples, tokens, the epoch's loss and its weight."""
        loss = self._mean_loss
        counts = [self.examples_seen, int(self._tokens), float(loss.total), float(loss.weight)]
        return torch.tensor(counts, dtype=torch.float64)

    def load_progress(self, counted: Tensor) -> None:
        """Go on counting from what `progress` returned."""
        examples, tokens, total, weight = counted.tolist()
        self.examples_seen, self._tokens = int(examples), torch.tensor(int(tokens))
        self._mean_loss.total.fill_(total)
        self._mean_loss.weight.fill_(weight)

    @property
    def _adds_up(self) -> bool:
        """Whether the gradients of a step come from several batches."""
        return self.trainer.accumulate_grad_batches > 1 or self.trainer.world_size > 1

    def _mean_of_ranks(self, value: float) -> float:
        if self.trainer.world_size == 1:
            return value
        strategy = self.trainer.strategy
        return float(strategy.reduce(torch.tensor(value, device=strategy.root_device), reduce_op="mean"))

    def _collect(self, stage: str, batch: Batch, loader: int) -> None:
        name, outputs = self._names[stage][loader], self(batch)
        self._collected.setdefault(name, []).append(self.kind.predict(outputs, batch))
        self._losses.setdefault(name, []).append((self.kind.loss(outputs, batch), self.kind.loss_terms(batch)))

    def _evaluate(self) -> None:
        for name, parts in self._collected.items():
            found = self.predictions[name] = parts[0].joined(parts)
            for metric, value in self.kind.score(found).items():
                self.results[f"{name}/{metric}"] = value
                self.log(f"{name}/{metric}", value, sync_dist=True)
            self.log(f"{name}/loss", _mean(self._losses[name]), sync_dist=True)
            # The progress bar has room for one short name.
            primary = self.kind.primary
            if name == "validation":
                self.log(primary, self.results[f"validation/{primary}"], prog_bar=True, logger=False, sync_dist=True)
        self._forget()

    def _forget(self) -> None:
        self._collected, self._losses = {}, {}


def _mean(losses: list[tuple[Tensor, int | Tensor]]) -> Tensor:
    """Return the mean loss, float64, of batches of these losses and of so many terms each."""
    return torch.stack([loss.double() * terms for loss, terms in losses]).sum() / sum(terms for _, terms in losses)
