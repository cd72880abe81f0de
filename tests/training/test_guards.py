"""What would go wrong silently stops the run in one line."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import fit
from torch import nn

from models import tiny
from peftlab.backbones.loading import Backbone
from peftlab.errors import UserError
from peftlab.strategies.attached import Attached
from peftlab.strategies.bases.in_place import AttachedInPlace, InPlaceStrategy
from peftlab.strategies.bitfit import BitFit
from peftlab.strategies.classifier import Classifier
from peftlab.strategies.registry import create_strategy
from peftlab.training import callbacks
from peftlab.training.callbacks import load_best
from peftlab.training.checkpoint_files import SafeCheckpoints, read_checkpoint
from peftlab.training.guards import CheckGradientFlow, FiniteLoss


class Poisoned(BitFit):
    """Adds `value` to the loss of one step."""

    name = "poisoned"
    value, at, steps = float("nan"), 3, 0

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        return AttachedPoisoned(self, backbone)


class AttachedPoisoned(AttachedInPlace):
    strategy: Poisoned

    def penalty(self):
        self.strategy.steps += 1
        return torch.tensor(self.strategy.value if self.strategy.steps == self.strategy.at else 0.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("at", [1, 3, 5])
def test_a_loss_that_is_no_number_stops_the_run_with_step_and_rows(value: float, at: int, tmp_path: Path):
    strategy = Poisoned()
    strategy.value, strategy.at = value, at
    with pytest.raises(UserError, match=rf"the loss is {value} at step {at} \(rows \d+, \d+, \d+, \d+ of") as caught:
        fit(tmp_path, strategy, callbacks=[FiniteLoss()])
    assert strategy.steps == at
    assert "\n" not in str(caught.value)


def test_losses_are_read_before_an_evaluation_where_reading_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FiniteLoss, "on_train_batch_end", _unread)
    strategy = Poisoned()
    strategy.at = 2
    with pytest.raises(UserError, match="at step 2 "):
        fit(tmp_path, strategy, callbacks=[FiniteLoss()])
    assert strategy.steps == 3  # the epoch's last


def _unread(self, trainer, module, outputs, batch, index):
    self._unread.append((trainer.global_step, outputs["loss"], batch["index"]))


def test_the_rows_are_those_of_the_batch(tmp_path: Path):
    batches = []

    class Watching(FiniteLoss):
        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            batches.append(sorted(batch["index"].tolist()))
            super().on_train_batch_end(trainer, module, outputs, batch, index)

    with pytest.raises(UserError) as caught:
        fit(tmp_path, Poisoned(), callbacks=[Watching()])
    assert f"(rows {', '.join(map(str, batches[-1]))} of" in str(caught.value)


@dataclass(frozen=True)
class Idle(InPlaceStrategy):
    """Tunes the biases, and a parameter that the loss does not depend on."""

    name = "idle"

    def chooses(self, name: str, parameter: nn.Parameter) -> bool:
        return name.endswith("bias") or name == "idle"


def test_a_tuned_parameter_without_a_gradient_is_an_error_after_the_first_step(tmp_path: Path, monkeypatch):
    attach = callbacks.AttachStrategy.setup

    def with_idle(self, trainer, module, stage):
        module.model.register_parameter("idle", nn.Parameter(torch.zeros(3)))
        attach(self, trainer, module, stage)

    monkeypatch.setattr(callbacks.AttachStrategy, "setup", with_idle)
    strategy = Idle()
    with pytest.raises(UserError, match=r"^strategy idle: 1 of \d+ parameters have no gradient .*, idle among them"):
        fit(tmp_path, strategy, callbacks=[CheckGradientFlow()])


def test_a_gradient_of_zeros_is_a_gradient(tmp_path: Path):
    strategy = create_strategy("lora", {})
    fit(tmp_path, strategy, epochs=1, callbacks=[CheckGradientFlow()])


@pytest.mark.parametrize("robust", [True, False])
def test_what_a_step_leaves_out_by_design_needs_no_gradient(robust: bool, tmp_path: Path, monkeypatch):
    """AdapterDrop draws how many layers go without an adapter; here it draws as many as it can."""
    monkeypatch.setattr("peftlab.strategies.adapterdrop.torch.randint", lambda high, size: torch.tensor(high - 1))
    strategy = create_strategy("adapterdrop", {"robust": robust, "drop": 1})
    assert strategy.traits.sparse_gradients == robust
    fit(tmp_path, strategy, epochs=1, callbacks=[CheckGradientFlow()])


@dataclass(frozen=True)
class Nothing(InPlaceStrategy):
    """Finds nothing to tune."""

    name = "nothing"

    def chooses(self, name: str, parameter: nn.Parameter) -> bool:
        return False


def test_a_strategy_that_tunes_nothing_is_refused_unless_it_is_meant_to():
    with pytest.raises(UserError, match=r"^strategy nothing: there is nothing to tune in backbone tiny-bert$"):
        Nothing().attach(tiny())
    Classifier().attach(tiny())


@pytest.mark.parametrize("lost", ["model.classifier.weight", "model.classifier.bias"])
def test_a_checkpoint_without_the_classifier_is_refused(lost: str, tmp_path: Path):
    fitted = fit(tmp_path, epochs=1)
    path = Path(fitted.best.best_model_path)
    content = read_checkpoint(path)
    del content["state_dict"][lost]
    SafeCheckpoints().save_checkpoint(content, path)
    with pytest.raises(UserError, match=rf"^checkpoint: its tensors are not those trained here: {lost}$"):
        load_best(fitted.best, fitted.module)
