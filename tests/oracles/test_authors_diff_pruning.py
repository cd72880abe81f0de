"""Diff-Pruning against its authors' own scripts: gates, gradients, steps, what is pruned, and steps with a fixed mask.

`fixtures/diff-pruning.json` holds the numbers and says how they were made.
"""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftlab.backbones.loading import Backbone
from peftlab.layers import difference, hard_concrete
from peftlab.layers.hard_concrete import HardConcrete
from peftlab.strategies.diff_pruning import AttachedDifference, DiffPruning
from peftlab.training.optimiser import build_optimiser, build_schedule, clip_groups
from peftlab.training.phases import PhaseSchedule

THEIRS: dict[str, Any] = json.loads((Path(__file__).parent / "fixtures" / "diff-pruning.json").read_text())
SETTINGS = THEIRS["settings"]
CLOSE = {"rtol": 2e-5, "atol": 5e-6}


class Small(nn.Module):
    """The fixture's model, under BERT's parameter names."""

    def __init__(self) -> None:
        super().__init__()
        self.bert = nn.Module()
        self.bert.embeddings = nn.Module()
        self.bert.embeddings.word_embeddings = nn.Embedding(6, 4)
        layer = nn.Module()
        layer.dense = nn.Linear(4, 4)
        self.bert.encoder = nn.Module()
        self.bert.encoder.layer = nn.ModuleList([layer])
        self.classifier = nn.Linear(4, 2)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                parameter.copy_(torch.tensor(THEIRS["start"][name]))

    def loss(self) -> Tensor:
        batch = {name: torch.tensor(values) for name, values in THEIRS["batch"].items()}
        embedded = self.bert.embeddings.word_embeddings(batch["input_ids"])
        hidden = torch.tanh(self.bert.encoder.layer[0].dense(embedded)).mean(1)
        return F.cross_entropy(self.classifier(hidden), batch["labels"])


class Ours:
    """Our strategy on that model, trained as a run trains it; each draw takes the fixture's noise."""

    def __init__(self, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.theirs, self.model = THEIRS[kind], Small()
        options = {name: SETTINGS[name] for name in ("l0", "alpha", "alpha_rate", "finetune_rate")}
        target = SETTINGS["target"][kind]
        strategy = DiffPruning(structured=kind == "structured", l0_form="sum", target=target, **options)
        named = {name: p for name, p in self.model.named_parameters() if not name.startswith("classifier.")}
        view = SimpleNamespace(
            classifier_parameters=lambda: self.model.classifier.named_parameters("classifier"),
            tunable_parameters=lambda: named,
        )
        tiny = cast(Backbone, SimpleNamespace(name="tiny", model=self.model, view=view))
        self.strategy = cast(AttachedDifference, strategy.attach(tiny))
        self.phases = PhaseSchedule(self.strategy, 2 * SETTINGS["steps"])
        self.noise: dict[str, Any] = {}
        monkeypatch.setattr(hard_concrete, "noise_like", self.draw)
        monkeypatch.setattr(difference, "noise_like", self.draw)
        self._begin()

    def draw(self, alpha: Tensor, generator: torch.Generator | None = None) -> Tensor:
        name = next(name for name, p in self.strategy.tuned().items() if p.data_ptr() == alpha.data_ptr())
        return torch.tensor(self.noise[name]).clamp(1e-4, 1 - 1e-4)

    def _begin(self) -> None:
        self.optimiser = build_optimiser(self.strategy.parameter_groups(), SETTINGS["learning_rate"], 0.01)
        self.schedule = build_schedule(self.optimiser, self.phases.steps, 0.1)

    def step(self, index: int) -> dict[str, Tensor]:
        """Take a step; return the gradients that AdamW saw."""
        if self.phases.advance(index):
            self._begin()
        self.model.train()
        penalty = self.strategy.penalty()
        loss = self.model.loss()
        (loss if penalty is None else loss + penalty).backward()
        for part in clip_groups(self.optimiser):
            parameters = [p for group in part.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(parameters, SETTINGS["clip"])
        everything = {**self.strategy.tuned(), **self.strategy.classifier()}
        gradients = {name: p.grad.clone() for name, p in everything.items() if p.grad is not None}
        self.optimiser.step()
        self.schedule.step()
        self.optimiser.zero_grad()
        return gradients


@pytest.fixture(params=["structured", "unstructured"])
def ours(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Ours:
    return Ours(request.param, monkeypatch)


def assert_equal(found: Tensor, theirs: Any) -> None:
    torch.testing.assert_close(found, torch.tensor(theirs, dtype=torch.float32), **CLOSE)


@pytest.mark.parametrize("draw", THEIRS["gates"]["draws"])
def test_gates_and_their_slopes(draw: dict[str, Any]) -> None:
    distribution = HardConcrete(-1.5, 1.5)
    gates = distribution.gate(torch.tensor(THEIRS["gates"]["alpha"]), torch.tensor(draw["noise"]).clamp(1e-4, 1 - 1e-4))
    assert_equal(gates, draw["gate"])
    assert_equal(distribution.slope(gates), draw["slope"])
    assert 0 < int((gates == 0).sum()) < len(gates)


def test_gradients_and_steps_under_gates(ours: Ours) -> None:
    for index, theirs in enumerate(ours.theirs["gated"]):
        ours.noise = theirs["noise"]
        assert [group["lr"] for group in ours.optimiser.param_groups] == pytest.approx(theirs["rates"])
        gradients = ours.step(index)
        values = {**ours.strategy.tuned(), **ours.strategy.classifier()}
        # The authors keep a difference of the classifier, we its values.
        named = {name.removesuffix(".difference") if "classifier" in name else name: name for name in theirs["after"]}
        assert gradients.keys() == values.keys() == named.keys()
        for name, theirs_name in named.items():
            assert_equal(gradients[name], theirs["gradients"][theirs_name])
            start = torch.tensor(THEIRS["start"][name]) if name.startswith("classifier") else 0
            assert_equal(values[name].detach() - start, theirs["after"][theirs_name])


def test_what_is_pruned_and_the_steps_with_a_fixed_mask(ours: Ours) -> None:
    steps = SETTINGS["steps"]
    for index, theirs in enumerate(ours.theirs["gated"]):
        ours.noise = theirs["noise"]
        if index == steps - 1:
            # The authors prune the weights that the last forward pass saw, those before its step.
            for name, module in ours.strategy._gated().items():
                change = module.sampled(torch.tensor(THEIRS["start"][name]), torch.Generator())
                assert_equal(torch.tensor(THEIRS["start"][name]) + change, ours.theirs["sampled"][name])
            seen = {name: p.detach().clone() for name, p in ours.strategy.classifier().items()}
            kept = ours.strategy._largest()
        ours.step(index)
    for name, positions in kept.items():
        assert positions.tolist() == ours.theirs["kept"][name], name
    assert seen.keys() | kept.keys() == ours.theirs["kept"].keys()

    ours.strategy._largest = lambda: kept  # type: ignore[method-assign]
    for index, theirs in enumerate(ours.theirs["fixed"]):
        rate = theirs["rate"]
        gradients = ours.step(steps + index)
        assert theirs["rate"] == rate
        for name, module in ours.strategy._sparse().items():
            theirs_gradients = torch.tensor(theirs["gradients"][name]).flatten()
            assert_equal(gradients[f"{name}.values"], theirs_gradients[kept[name]].tolist())
            assert_equal(module.values.detach(), torch.tensor(theirs["after"][name]).flatten()[kept[name]].tolist())
            outside = torch.ones_like(theirs_gradients).index_fill_(0, kept[name], 0)
            assert not (theirs_gradients * outside).any()
        for name, parameter in ours.strategy.classifier().items():
            assert_equal(parameter.detach() - torch.tensor(THEIRS["start"][name]), theirs["after"][name])
