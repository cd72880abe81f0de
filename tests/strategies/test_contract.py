"""Every strategy keeps every promise of the contract, on BERT and RoBERTa; strategies are found by themselves."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from models import HAS_ADAPTERS_LIBRARY, batch, logits, strategy_or_skip, tiny
from peftlab.backbones.loading import Backbone
from peftlab.delta.delta import load_delta, save_delta
from peftlab.heads.selection import HeadScores, select_heads
from peftlab.masks.child_network import ChildNetwork
from peftlab.strategies.attached import Attached
from peftlab.strategies.contract import Strategy
from peftlab.strategies.registry import create_strategy, strategy_names
from peftlab.strategies.restore import apply_delta, describe_delta
from peftlab.training.optimiser import build_optimiser
from peftlab.training.phases import PhaseSchedule

KINDS = ["bert", "roberta"]

# Declared and never reached: rows of embeddings that no token uses, and the half of a ReFT that is for the last tokens:
# in the adapters library 1.3.0 it does nothing.
UNREACHED = ("position", "refts.task.units.1.")

# Strings that `conf/strategy/adapterhub.yaml` names, of sizes that fit a hidden size of 32.
LIBRARY_CONFIGS = [
    "double_seq_bn",
    "seq_bn[reduction_factor=8, leave_out=[0]]",
    "par_bn",
    "scaled_par_bn[reduction_factor=4]",
    "seq_bn_inv",
    "double_seq_bn_inv",
    "compacter[reduction_factor=4]",
    "compacter++[reduction_factor=4]",
    "prefix_tuning[bottleneck_size=16]",
    "prefix_tuning_flat[prefix_length=5]",
    "prompt_tuning[prompt_length=3]",
    "lora[r=2, intermediate_lora=True]",
    "ia3",
    "vera",
    "dora",
    "dvora",
    "loreft",
    "noreft",
    "direft",
    "mam",
    "unipelt",
    "prefix_tuning|parallel",
]

# Options beside the defaults that change what is tuned: each is one more case of every promise.
VARIATIONS: dict[str, list[dict[str, Any]]] = {
    # Without the library every case is skipped: one says so.
    "adapterhub": [{"config": config} for config in LIBRARY_CONFIGS[: None if HAS_ADAPTERS_LIBRARY else 1]],
    "adapter": [
        {},
        {"placement": "pfeiffer", "nonlinearity": "relu"},
        {"placement": "parallel", "init": "identity", "scale": 4.0},
        {"nonlinearity": "gelu", "init": "near-identity", "layer_norms": True},
    ],
    "adapterdrop": [
        {},
        {"drop": 0, "placement": "houlsby"},
        {"drop": 1, "robust": False, "placement": "parallel", "layer_norms": True},
    ],
    "adapterbias": [{}, {"share": True, "layer_norms": False}],
    "mam": [{}, {"mlp": None, "length": 3, "bottleneck": 4, "scale": 1.0}],
    "prompt": [{}, {"place": "first", "init": "uniform", "length": 3}],
    "prefix": [{}, {"mlp": None, "length": 5, "shift": True, "dropout": 0.1}],
    "child-tuning": [{}, {"strict": True}, {"variant": "F", "p": 0.5}],
    "diff-pruning": [{}, {"structured": False, "target": 0.05, "finetune_rate": None}, {"l0_form": "sum", "l0": 1e-3}],
    "lora": [{}, {"target": "qk", "r": 2, "dropout": 0.1}, {"target": "qkv", "init": "gaussian"}],
    "peft": [{}, {"method": "dora", "options": {"r": 4}}, {"method": "ln_tuning"}],
    "compacter": [
        {},
        {"plus": True, "n": 2, "bottleneck": 8, "init": "glorot-uniform", "rule_std": 1e-2},
        {"plus": True, "plus_place": "feed-forward"},
    ],
    "tiny-attention": [{}, {"size": 4, "heads": 2, "backbone_dropout": True}, {"experts": 4, "init": "constructor"}],
    "hifi": [{}, {"k": 1, "bias": True}, {"variant": "mid-top", "k": 4}],
}
CASES = [(name, options) for name in strategy_names() for options in VARIATIONS.get(name, [{}])]
IDS = ["-".join([name, *(f"{key}={value}" for key, value in options.items())]) for name, options in CASES]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=CASES, ids=IDS)
def strategy(request: pytest.FixtureRequest) -> Strategy:
    return strategy_or_skip(*request.param)


def stand_in(strategy: Strategy, backbone: Backbone) -> Any:
    """Return what a look at data might have decided."""
    kinds = {"hifi": head_selection, "child-tuning": child_network}
    return kinds[strategy.name](strategy, backbone) if strategy.name in kinds else None


def child_network(strategy: Strategy, backbone: Backbone) -> ChildNetwork | None:
    """Stand in for Fisher information: random masks of the encoder's weights."""
    if getattr(strategy, "variant", None) == "F":
        return None
    generator = torch.Generator().manual_seed(3)
    encoder = backbone.view.encoder_parameters()
    return ChildNetwork({name: torch.rand(p.shape, generator=generator) < 0.3 for name, p in encoder.items()}, 0.0, 8)


def head_selection(strategy: Strategy, backbone: Backbone) -> Any:
    """Stand in for HiFi's scores: random ones."""
    view, generator = backbone.view, torch.Generator().manual_seed(3)
    shape = (view.num_layers, view.num_heads)
    pairs = torch.rand(*shape, view.num_heads, generator=generator, dtype=torch.float64)
    symmetric = (pairs + pairs.transpose(1, 2)) * (1 - torch.eye(view.num_heads))
    scores = HeadScores(torch.rand(*shape, generator=generator, dtype=torch.float64), symmetric, 8)
    options = {"d": 0.85, "eps": 1e-5, "max_iter": 100, "orientation": "column", "teleport": "uniform", "seed": 0}
    chosen = {
        "k": getattr(strategy, "k", 1),
        "score": "pagerank",
        "variant": getattr(strategy, "variant", "layer-wise"),
    }
    return select_heads(scores, **chosen, **options)


@pytest.fixture
def attached(strategy: Strategy, kind: str) -> Attached:
    backbone = tiny(kind)
    assert strategy.skip(backbone.view, None) is None
    strategy.check(backbone)
    torch.manual_seed(0)
    return strategy.attach(backbone, stand_in(strategy, backbone))


def assert_close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Compare logits: bit by bit, unless the strategy declares how far apart they may be."""
    if tolerance == 0:
        assert torch.equal(found, expected)
    else:
        assert (found - expected).abs().max() <= tolerance * expected.abs().max()


def snapshot(backbone: Backbone) -> dict[str, Tensor]:
    # A parameter that modules share has one name here, and several in the state dict.
    model = backbone.model
    return {pretrained(name): value.clone() for name, value in [*model.named_parameters(), *model.named_buffers()]}


def pretrained(name: str) -> str:
    """Return a tensor's name in the untouched backbone, where a parametrization has moved it."""
    return re.sub(r"\.parametrizations\.(\w+)\.original$", r".\1", name)


def train(attached: Attached, steps: int = 20, checkpointing: bool = False, **cast: Any) -> None:
    backbone = attached.backbone
    torch.manual_seed(0)
    backbone.model.train()
    if checkpointing:
        backbone.model.gradient_checkpointing_enable({"use_reentrant": False})
    phases = PhaseSchedule(attached, steps)
    for step in range(steps):
        if step == 0 or phases.advance(step):
            optimiser = build_optimiser(attached.parameter_groups(), learning_rate=1e-2, weight_decay=0.1)
        inputs = batch(backbone, seed=step)
        labels = inputs.pop("labels")
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=cast.get("bf16", False)):
            loss = F.cross_entropy(backbone.model(**inputs).logits.float(), labels)
        penalty = attached.penalty()
        (loss if penalty is None else loss + penalty).backward()
        attached.after_clipping()
        optimiser.step()
        attached.after_step()
        optimiser.zero_grad()
    phases.finish()
    backbone.model.eval()


def test_logits_equal_the_untouched_backbones_at_the_start(attached: Attached, kind: str) -> None:
    backbone = attached.backbone
    inputs = batch(backbone)
    assert_close(logits(backbone, inputs), logits(tiny(kind), inputs), attached.strategy.traits.start_tolerance)


def test_only_declared_parameters_receive_gradients(attached: Attached) -> None:
    backbone = attached.backbone
    inputs = batch(backbone)
    F.cross_entropy(
        backbone.model(**{n: v for n, v in inputs.items() if n != "labels"}).logits, inputs["labels"]
    ).backward()
    declared = {id(p) for p in [*attached.tuned().values(), *attached.classifier().values()]}
    with_gradient = {id(p) for p in backbone.model.parameters() if p.grad is not None}
    # Rows of embeddings that no token uses, and RoBERTa's unused ones, are declared but not reached.
    assert with_gradient <= declared
    assert {id(p) for p in attached.classifier().values()} <= with_gradient
    assert {id(p) for p in backbone.model.parameters() if p.requires_grad} == declared


def test_optimiser_groups_hold_each_declared_parameter_once(attached: Attached) -> None:
    grouped = [p for group in attached.parameter_groups() for p in group.parameters.values()]
    declared = [*attached.tuned().values(), *attached.classifier().values()]
    assert sorted(map(id, grouped)) == sorted(map(id, declared))
    assert len({id(p) for p in grouped}) == len(grouped)


@pytest.mark.parametrize("how", [{}, {"bf16": True}, {"checkpointing": True}], ids=["fp32", "bf16", "checkpointing"])
def test_all_else_is_bit_identical_after_twenty_steps_with_weight_decay(
    attached: Attached, how: dict[str, bool]
) -> None:
    backbone = attached.backbone
    declared = {id(p) for p in [*attached.tuned().values(), *attached.classifier().values()]}
    names = {pretrained(name) for name, p in backbone.model.named_parameters() if id(p) in declared}
    before = snapshot(backbone)
    train(attached, **how)
    after = snapshot(backbone)
    for name, value in before.items():
        assert name in names or torch.equal(value, after[name]), name
    # PhaseSchedule of training may exchange parameters for others.
    reached = [name for name in names & after.keys() if not any(part in name for part in UNREACHED)]
    assert reached
    assert all(not torch.equal(before[name], after[name]) for name in reached)


def test_training_moves_the_logits(attached: Attached) -> None:
    backbone = attached.backbone
    before = logits(backbone, batch(backbone))
    train(attached, steps=3)
    assert not torch.allclose(before, logits(backbone, batch(backbone)))


def test_saved_and_loaded_on_a_fresh_backbone_the_logits_are_identical(
    attached: Attached, kind: str, tmp_path: Path
) -> None:
    backbone = attached.backbone
    train(attached)
    save_delta(describe_delta(attached, {"name": backbone.name}, "rte", ["yes", "no"], {}), tmp_path)
    fresh = tiny(kind, seed=99)
    # The fixture gives biases values after the fingerprint is taken, alike on both sides.
    apply_delta(load_delta(tmp_path), fresh)
    inputs = batch(backbone)
    assert torch.equal(logits(fresh, inputs), logits(backbone, inputs))


def test_merged_logits_are_identical_in_a_plain_model(attached: Attached, kind: str) -> None:
    backbone = attached.backbone
    if not attached.strategy.traits.mergeable:
        pytest.skip(f"{attached.strategy.name} declares that it cannot be merged")
    train(attached)
    inputs = batch(backbone)
    tuned = logits(backbone, inputs)
    attached.merge()
    assert_close(logits(backbone, inputs), tuned, attached.strategy.traits.merge_tolerance or 0.0)
    assert backbone.model.state_dict().keys() == tiny(kind).model.state_dict().keys()
    assert {type(module) for module in backbone.model.modules()} == {type(m) for m in tiny(kind).model.modules()}


def test_stored_bytes_are_those_declared(attached: Attached, tmp_path: Path) -> None:
    backbone = attached.backbone
    size = save_delta(describe_delta(attached, {"name": backbone.name}, "rte", ["yes", "no"], {}), tmp_path)
    tensors = attached.delta()
    assert size == (tmp_path / "delta.safetensors").stat().st_size
    assert sum(t.numel() * t.element_size() for t in tensors.values()) == attached.stored_bytes()
    # What is not tensors is the file's header: names, shapes and places.
    assert size - sum(t.numel() * t.element_size() for t in tensors.values()) <= 200 * (len(tensors) + 1)


def test_detaching_gives_the_backbone_back(strategy: Strategy, kind: str) -> None:
    backbone = tiny(kind)
    frozen_before = next(iter(backbone.model.parameters()))
    frozen_before.requires_grad_(False)
    flags = {name: p.requires_grad for name, p in backbone.model.named_parameters()}
    before, modules = snapshot(backbone), [type(module) for module in backbone.model.modules()]
    attached = strategy.attach(backbone, stand_in(strategy, backbone))
    train(attached, steps=3)
    classifier = {name for name, _ in backbone.view.classifier_parameters()}
    attached.detach()
    after = snapshot(backbone)
    assert before.keys() == after.keys()
    assert [name for name in before if name not in classifier and not torch.equal(before[name], after[name])] == []
    assert {name: p.requires_grad for name, p in backbone.model.named_parameters()} == flags
    assert [type(module) for module in backbone.model.modules()] == modules


def test_options_come_back_as_they_were_given(strategy: Strategy) -> None:
    again = create_strategy(strategy.name, strategy.given_options())
    assert again.given_options() == strategy.given_options()
