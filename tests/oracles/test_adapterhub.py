"""Our layers against AdapterHub's, number for number: the same start, logits, gradients and fifty training steps.

Runs in the environment of `make test-adapters`: the library needs an earlier transformers than the rest of the tests.
"""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import batch, tiny
from peftlab.backbones.loading import Backbone
from peftlab.strategies.attached import Attached
from peftlab.strategies.registry import create_strategy

adapters = pytest.importorskip("adapters", reason="the adapters library is in the environment of make test-adapters")

PREFIX = "prefix_tunings.oracle.self_prefix."
# The library's names, as patterns, and ours.
BOTTLENECK = {
    r".*layer\.(\d+)\.attention\.output\.adapters\.oracle\.": r"layers.\1.attention_end.adapter.",
    r"adapter_down\.0\.": "down.",
    r"adapter_up\.": "up.",
    r"\.W_(left|right)$": r".\1",
    r"\.b$": ".bias",
}
LORA = {r"(.*)\.loras\.oracle\.lora_([AB])$": r"\1.lora_\2.default.weight"}


@dataclass(frozen=True)
class Case:
    """One of our strategies, the library's configuration that equals it, and where both keep the same numbers."""

    strategy: str
    configuration: str
    options: dict[str, Any] = field(default_factory=dict)
    after_feed_forward: str = "feed_forward_end"
    first: str = "attention_end"

    def ours(self, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the library's tensors under our names: its prefix holds all layers in one tensor."""
        named = {}
        for name, tensor in theirs.items():
            if PREFIX in name:
                named.update(self._prefix(name.split(PREFIX)[1], tensor))
            else:
                named[self._name(name)] = tensor
        return named

    def _name(self, name: str) -> str:
        after = r".*layer\.(\d+)\.output\.adapters\.oracle\."
        rule = r".*shared_parameters\.oracle\.phm_rule$"
        places = {after: rf"layers.\1.{self.after_feed_forward}.adapter."}
        shared = {rule: f"layers.0.{self.first}.adapter.down.rule"}
        for pattern, ours in {**BOTTLENECK, **places, **shared, **LORA}.items():
            name = re.sub(pattern, ours, name)
        return name

    def _prefix(self, name: str, tensor: Tensor, layers: int = 2) -> dict[str, Tensor]:
        prefixes = [f"layers.{layer}.self_attention.prefix." for layer in range(layers)]
        if name == "control_trans":
            flat = tensor.view(self.options["length"], layers, -1).unbind(1)
            return {prefix + "keys_values": part for prefix, part in zip(prefixes, flat, strict=True)}
        if name.startswith("control_trans.2"):
            own = name.replace("control_trans.2", "output")
            return {prefix + own: part for prefix, part in zip(prefixes, tensor.chunk(layers), strict=True)}
        shared = {"wte.weight": "embedding", "control_trans.0.weight": "linear.weight"}
        return {prefixes[0] + "trunk." + shared.get(name, "linear.bias"): tensor}


CASES = {
    "houlsby": Case("adapter", "double_seq_bn[reduction_factor=8]", {"bottleneck": 8}),
    "pfeiffer": Case(
        "adapter",
        "seq_bn[reduction_factor=8]",
        {"bottleneck": 8, "placement": "pfeiffer", "nonlinearity": "relu"},
        "feed_forward_norm",
    ),
    "parallel": Case(
        "adapter",
        "par_bn",
        {"bottleneck": 32, "placement": "parallel", "nonlinearity": "relu", "init": "identity", "scale": 4.0},
        "feed_forward_output",
    ),
    "adapterdrop": Case(
        "adapterdrop",
        "seq_bn[reduction_factor=8, leave_out=[0]]",
        {"bottleneck": 8, "drop": 1, "robust": False},
        "feed_forward_norm",
    ),
    "mam": Case("mam", "mam", {"bottleneck": 32}, "feed_forward_output"),
    "compacter": Case("compacter", "compacter[reduction_factor=4]", {"bottleneck": 16}),
    "compacter++": Case(
        "compacter",
        "compacter++[reduction_factor=4]",
        {"bottleneck": 16, "plus": True},
        "feed_forward_norm",
        "feed_forward_norm",
    ),
    "prefix": Case("prefix", "prefix_tuning"),
    "flat-prefix": Case("prefix", "prefix_tuning_flat[prefix_length=5]", {"length": 5, "mlp": None}),
    "lora": Case("lora", "lora"),
}


@dataclass(frozen=True)
class Pair:
    """Our model and the library's, both with the same pretrained weights."""

    case: Case
    ours: Attached
    backbone: Backbone
    theirs: nn.Module

    def our_parameters(self) -> dict[str, nn.Parameter]:
        return {**self.ours.tuned(), **self.ours.classifier()}

    def their_parameters(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.theirs.named_parameters() if p.requires_grad}


@pytest.fixture(params=CASES)
def pair(request: pytest.FixtureRequest) -> Pair:
    case = CASES[request.param]
    torch.manual_seed(5)
    backbone = tiny(hidden_size=64)
    theirs = copy.deepcopy(backbone.model)
    adapters.init(theirs)
    theirs.add_adapter("oracle", config=case.configuration)
    theirs.train_adapter("oracle")
    theirs.classifier.requires_grad_(True)
    strategy = create_strategy(case.strategy, case.options)
    attached = strategy.attach(backbone)
    theirs.eval()
    return Pair(case, attached, backbone, theirs)


@pytest.fixture
def equal(pair: Pair) -> Pair:
    """The pair with the same tuned weights, none of them zero: what is zero would hide a difference."""
    for parameter in pair.their_parameters().values():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    weights = pair.case.ours(pair.their_parameters())
    assert weights.keys() == pair.our_parameters().keys()
    with torch.no_grad():
        for name, parameter in pair.our_parameters().items():
            parameter.copy_(weights[name].view_as(parameter))
    return pair


def loss(model: nn.Module, backbone: Backbone, seed: int) -> tuple[Tensor, Tensor]:
    inputs = batch(backbone, seed=seed)
    logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
    return F.cross_entropy(logits, inputs["labels"]), logits


def test_both_start_from_the_same_distribution(pair: Pair) -> None:
    theirs = pair.case.ours(pair.their_parameters())
    ours = pair.our_parameters()
    assert {name: p.numel() for name, p in ours.items()} == {name: p.numel() for name, p in theirs.items()}
    for kind in {_kind(name) for name in ours if "classifier" not in name}:
        drawn, expected = (
            torch.cat([p.detach().flatten() for name, p in which.items() if _kind(name) == kind])
            for which in (ours, theirs)
        )
        # Eight deviations of an estimate of the deviation from so many numbers.
        assert float(drawn.std()) == pytest.approx(float(expected.std()), rel=8 / (2 * len(drawn)) ** 0.5), kind


def _kind(name: str) -> str:
    """Return a name without its layer and place."""
    return ".".join(name.split(".")[-3:])


def test_logits_and_gradients_are_equal(equal: Pair) -> None:
    our_loss, our_logits = loss(equal.backbone.model, equal.backbone, seed=0)
    their_loss, their_logits = loss(equal.theirs, equal.backbone, seed=0)
    torch.testing.assert_close(our_logits, their_logits, rtol=1e-5, atol=1e-5)
    our_loss.backward()
    their_loss.backward()
    gradients = equal.case.ours({name: p.grad for name, p in equal.their_parameters().items() if p.grad is not None})
    for name, parameter in equal.our_parameters().items():
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradients[name].view_as(parameter), rtol=1e-5, atol=1e-5)
        scale = parameter.grad.abs().max()
        assert scale > 0
        assert (parameter.grad - gradients[name].view_as(parameter)).abs().max() <= 1e-4 * scale, name


def test_fifty_steps_stay_together(equal: Pair) -> None:
    untuned = loss(equal.backbone.model, equal.backbone, seed=0)[1].detach()
    for model, parameters in (
        (equal.backbone.model, equal.our_parameters()),
        (equal.theirs, equal.their_parameters()),
    ):
        optimiser = torch.optim.AdamW(parameters.values(), lr=1e-3, weight_decay=0.01)
        for step in range(50):
            loss(model, equal.backbone, seed=step)[0].backward()
            optimiser.step()
            optimiser.zero_grad()
    ours, theirs = (loss(model, equal.backbone, seed=0)[1] for model in (equal.backbone.model, equal.theirs))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert (ours - untuned).abs().max() > 1e-2
    weights = equal.case.ours(equal.their_parameters())
    for name, parameter in equal.our_parameters().items():
        torch.testing.assert_close(parameter, weights[name].view_as(parameter), rtol=1e-4, atol=1e-4)
