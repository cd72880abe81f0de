"""Training in phases: each with an optimiser and a schedule of its own, and only the last one's weights are kept."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import BATCH, TRAIN, fit
from lightning import Callback
from torch import nn

from models import tiny
from peftlab.backbones.loading import Backbone
from peftlab.strategies.attached import Attached, ParameterGroup, Phases
from peftlab.strategies.bases.in_place import AttachedInPlace, InPlaceStrategy
from peftlab.tasks.kinds.classification import Classification
from peftlab.training.checkpoint_files import read_checkpoint
from peftlab.training.module import FineTuning
from peftlab.training.phases import PhaseSchedule

STEPS_PER_EPOCH = TRAIN // BATCH


class Phased(InPlaceStrategy):
    """Tunes biases; notes which phases it enters."""

    name = "phased"
    lengths = (3, 3)

    def chooses(self, name: str, parameter: nn.Parameter) -> bool:
        return name.endswith("bias")

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        self.entered = [0]
        return AttachedPhased(self, backbone)


class AttachedPhased(AttachedInPlace):
    strategy: Phased

    def phases(self, steps: int) -> Phases:
        self.strategy.told = steps
        return Phases(self.strategy.lengths, self.strategy.entered.append)

    def logged_metrics(self) -> dict[str, float]:
        return {"phase": float(self.strategy.entered[-1])}

    def parameter_groups(self) -> list[ParameterGroup]:
        gates = ParameterGroup(self.classifier(), clip_separately=True)
        return [ParameterGroup(self.tuned(), schedule="decay"), gates]


class Watch(Callback):
    """Notes each step's optimiser, its rate, the phase that has been entered, and the gradients' norms."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, float, int]] = []
        self.states: list[int] = []

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
        self.rows.append((id(optimizer), optimizer.param_groups[0]["lr"], module.attached.strategy.entered[-1]))
        self.states.append(len(optimizer.state))


def phased(*lengths: int) -> Phased:
    strategy = Phased()
    strategy.lengths = lengths
    return strategy


def test_the_optimiser_and_its_schedule_begin_anew_with_a_phase(tmp_path: Path) -> None:
    strategy, watch = phased(4, 5), Watch()
    fitted = fit(tmp_path, strategy, epochs=3, callbacks=[watch])
    assert strategy.told == 3 * STEPS_PER_EPOCH == 9
    assert [phase for _, _, phase in watch.rows] == [0] * 4 + [1] * 5
    rates = [rate / 1e-2 for _, rate, _ in watch.rows]
    assert rates == pytest.approx([1, 0.75, 0.5, 0.25, 1, 0.8, 0.6, 0.4, 0.2])
    assert watch.states[0] == watch.states[4] == 0
    assert fitted.trainer.callback_metrics["train/phase"] == 1


@pytest.mark.parametrize(("lengths", "best"), [((6, 3), 3), ((3, 6), 2), ((2, 7), 1), ((9, 0), None)])
def test_only_an_epoch_of_the_last_phase_is_kept(
    lengths: tuple[int, ...], best: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All epochs are equally good, and the first of equals is kept.
    monkeypatch.setattr(Classification, "score", lambda *given: {"accuracy": 0.5})
    strategy = phased(*lengths)
    fitted = fit(tmp_path, strategy, epochs=3)
    path = fitted.best.best_model_path
    assert (read_checkpoint(Path(path))["epoch"] + 1 if path else None) == best
    assert strategy.entered == [0, 1]


def test_each_phase_is_entered_although_training_ends_before(tmp_path: Path) -> None:
    strategy = phased(2, 2, 2)
    fit(tmp_path, strategy, epochs=1, max_steps=1)
    assert strategy.entered == [0, 1, 2]


def test_phases_without_steps_are_passed() -> None:
    strategy = phased(1, 0, 2)
    phases = PhaseSchedule(strategy.attach(tiny()), 3)
    assert (phases.steps, phases.in_last) == (1, False)
    assert [phases.advance(step) for step in range(3)] == [False, True, False]
    assert (phases.steps, phases.in_last, strategy.entered) == (2, True, [0, 1, 2])


def test_gradients_of_groups_clipped_apart_keep_their_own_norm(tmp_path: Path) -> None:
    norms: list[list[float]] = []

    class Norms(FineTuning):
        def configure_gradient_clipping(self, optimizer: Any, *args: Any, **kwargs: Any) -> None:
            super().configure_gradient_clipping(optimizer, *args, **kwargs)
            groups = [[p.grad for p in group["params"] if p.grad is not None] for group in optimizer.param_groups]
            norms.append([float(torch.cat([g.flatten() for g in group]).norm()) for group in groups])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fitting.FineTuning", Norms)
        fit(tmp_path, phased(1, 2), epochs=1, gradient_clip_val=1e-4)
    assert norms == [pytest.approx([1e-4, 1e-4], rel=0.02)] * 3
