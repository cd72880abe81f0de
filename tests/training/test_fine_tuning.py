"""The LightningModule: its loss, its modes, its hooks, what it keeps and what it counts."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import BATCH, TRAIN, VALIDATION, fit, small_task
from lightning import Callback
from torch import Tensor

from models import batch, tiny
from peftlab.backbones.loading import Backbone
from peftlab.run import run
from peftlab.strategies.attached import Attached
from peftlab.strategies.bases.in_place import AttachedInPlace
from peftlab.strategies.bitfit import BitFit
from peftlab.strategies.registry import create_strategy
from peftlab.tasks.kind import kind_of
from peftlab.tasks.kinds.classification import Classification
from peftlab.tasks.task import FileSource, Task
from peftlab.training.callbacks import load_best
from peftlab.training.checkpoint_files import read_checkpoint
from peftlab.training.module import FineTuning
from peftlab.training.settings import TrainingSettings
from runs import small

SETTINGS = TrainingSettings(1e-3, BATCH, 1, 0.01, 0.1)
STEPS_PER_EPOCH = TRAIN // BATCH


def regression_task() -> Task:
    source = FileSource("SMALL", ["text"], "label", {"train": "train.tsv", "validation": "validation.tsv"})
    return Task("scores", ["pearson"], range=[0.0, 5.0], files=source)


class Modes(Callback):
    """Notes whether the model is in training mode at each training and each validation batch."""

    def __init__(self):
        self.training, self.validation = [], []

    def on_train_batch_start(self, trainer, module, batch, index):
        self.training.append({part.training for part in module.model.modules()})

    def on_validation_batch_start(self, trainer, module, batch, index, loader=0):
        self.validation.append({part.training for part in module.model.modules()})


class Watched(BitFit):
    """A strategy that notes when its hooks are called, and what gradients and weights are then."""

    name = "watched"

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        return AttachedWatched(self, backbone)


class AttachedWatched(AttachedInPlace):
    def __init__(self, *given):
        self.calls, self.norms, self.weights = [], [], []
        super().__init__(*given)

    def after_clipping(self):
        self._note("clipped")

    def after_step(self):
        self._note("stepped")

    def _note(self, name):
        gradients = [p.grad.norm() for p in {**self.tuned(), **self.classifier()}.values()]
        self.calls.append(name)
        self.norms.append(torch.stack(gradients).norm().item())
        self.weights.append(self.model.classifier.bias.detach().clone())


class Penalised(BitFit):
    name = "penalised"

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        return AttachedPenalised(self, backbone)


class AttachedPenalised(AttachedInPlace):
    def penalty(self) -> Tensor:
        return torch.tensor(7.0)


def test_the_loss_of_a_classification_is_that_of_transformers(tmp_path: Path):
    backbone = tiny()
    module = FineTuning(backbone, kind_of(small_task(tmp_path)), SETTINGS, {})
    inputs = batch(backbone)
    theirs = backbone.model(**inputs)
    assert torch.equal(module(inputs).logits, theirs.logits)
    assert module.kind.loss(module(inputs), inputs).item() == theirs.loss.item()


def test_the_loss_of_a_regression_is_that_of_transformers():
    backbone = tiny(labels=())
    module = FineTuning(backbone, kind_of(regression_task()), SETTINGS, {})
    inputs = {**batch(backbone), "labels": torch.rand(6) * 5}
    theirs = backbone.model(**inputs)
    assert theirs.logits.shape == (6, 1)
    assert module.kind.loss(module(inputs), inputs).item() == theirs.loss.item()


def test_the_penalty_is_added_to_the_training_loss(tmp_path: Path):
    plain, penalised = (fit(tmp_path, strategy, max_steps=1) for strategy in (BitFit(), Penalised()))
    losses = [float(fitted.trainer.callback_metrics["train/loss_step"]) for fitted in (plain, penalised)]
    assert losses[1] == pytest.approx(losses[0] + 7.0)


def test_dropout_is_on_in_every_training_step_and_off_in_every_evaluation(tmp_path: Path):
    modes = Modes()
    # An evaluation after each training step: the mode must come back within an epoch, not only at its start.
    fit(tmp_path, callbacks=[modes], epochs=3, val_check_interval=1)
    assert modes.training == [{True}] * 3 * STEPS_PER_EPOCH
    assert len(modes.validation) >= 3 * STEPS_PER_EPOCH
    assert all(seen == {False} for seen in modes.validation)


def test_the_strategy_acts_after_clipping_and_after_the_step_once_a_step(tmp_path: Path):
    limit = 1e-3
    fitted = fit(tmp_path, Watched(), gradient_clip_val=limit)
    watched = fitted.module.attached
    assert fitted.trainer.global_step == 2 * STEPS_PER_EPOCH
    assert watched.calls == ["clipped", "stepped"] * fitted.trainer.global_step
    assert all(norm == pytest.approx(limit, rel=1e-2) for norm in watched.norms)
    moved = [torch.equal(*pair) for pair in zip(watched.weights[:-1], watched.weights[1:], strict=True)]
    # Unmoved from the end of one step to the beginning of the next, moved in between.
    assert moved == [number % 2 == 1 for number in range(len(moved))]


def test_with_accumulated_gradients_the_strategy_acts_once_an_optimiser_step(tmp_path: Path):
    fitted = fit(tmp_path, Watched(), accumulate_grad_batches=2)
    # Three batches an epoch make two steps: the last is taken at the epoch's end.
    assert fitted.trainer.global_step == 4
    assert fitted.module.attached.calls == ["clipped", "stepped"] * 4


def test_the_schedule_is_stepped_at_each_step_and_ends_at_zero(tmp_path: Path):
    class Rates(Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_start(self, trainer, module, batch, index):
            self.seen.append(trainer.optimizers[0].param_groups[0]["lr"])

    rates = Rates()
    fitted = fit(tmp_path, callbacks=[rates], epochs=4)
    # 12 steps, one of warm-up.
    assert rates.seen == pytest.approx([1e-2 / 2] + [1e-2 * (12 - step) / 11 for step in range(1, 12)])
    assert fitted.trainer.optimizers[0].param_groups[0]["lr"] == 0


@pytest.mark.parametrize("name", ["bitfit", "hifi"])
def test_a_checkpoint_holds_what_is_trained(name: str, tmp_path: Path):
    strategy = create_strategy(name, {"k": 1, "n": 4} if name == "hifi" else {})
    fitted = fit(tmp_path, strategy, epochs=1)
    content = read_checkpoint(Path(fitted.best.best_model_path))
    assert content["state_dict"].keys() == fitted.weights().keys()
    attached = fitted.module.attached
    trained = len(attached.tuned()) + len(attached.classifier())
    assert len(content["state_dict"]) == trained < len(fitted.module.state_dict())


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [([0.1, 0.9, 0.5], 2), ([0.9, 0.5, 0.1], 1), ([0.1, 0.5, 0.9], 3), ([0.5, 0.5, 0.5], 1)],
)
def test_the_best_epochs_weights_come_back_the_first_on_ties(
    accuracies: list[float], best: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    values = iter(accuracies)
    monkeypatch.setattr(Classification, "score", lambda *_: {"accuracy": next(values)})

    class Weights(Callback):
        def __init__(self):
            self.seen = []

        def on_validation_start(self, trainer, module):
            self.seen.append(module.model.classifier.weight.detach().clone())

    weights = Weights()
    fitted = fit(tmp_path, callbacks=[weights], epochs=3)
    assert load_best(fitted.best, fitted.module) == best
    now = fitted.module.model.classifier.weight
    assert [torch.equal(now, seen) for seen in weights.seen] == [epoch == best for epoch in (1, 2, 3)]
    # The same tensors are those of what is attached: what is saved as the delta is the best epoch.
    assert torch.equal(fitted.module.attached.delta()["classifier.weight"], weights.seen[best - 1])
    assert [row["validation/accuracy"] for row in fitted.curve.rows] == pytest.approx(accuracies)


def test_each_validation_set_has_its_metrics_and_predictions(tmp_path: Path):
    fitted = fit(tmp_path, extra=["validation_mismatched"])
    assert set(fitted.module.results) == {"validation/accuracy", "validation_mismatched/accuracy"}
    for name, value in fitted.module.results.items():
        assert fitted.trainer.callback_metrics[name].item() == pytest.approx(value)
        found = fitted.module.predictions[name.split("/")[0]]
        logits, labels = found.outputs, found.gold
        assert logits.shape == (VALIDATION, 2)
        assert value == pytest.approx((logits.argmax(1) == labels).float().mean().item())


def test_examples_and_tokens_are_counted_without_pads(tmp_path: Path):
    fitted = fit(tmp_path, epochs=2)
    assert fitted.module.examples_seen == 2 * TRAIN
    assert fitted.module.tokens_seen == 2 * sum(fitted.data.splits["train"].lengths)


@pytest.mark.parametrize("strategy", ["hifi", "lora"])
def test_a_compiled_model_learns_what_the_plain_one_does(strategy: str, tmp_path: Path):
    plain, compiled = (
        run(small(f"+backbone.random.hidden_dropout_prob=0 training.compile={backend}", strategy), tmp_path / backend)
        for backend in ("null", "aot_eager")
    )
    losses = [[row["train/loss"] for row in record.curve] for record in (plain, compiled)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert (tmp_path / "aot_eager" / "delta.safetensors").stat().st_size == plain.delta.bytes
