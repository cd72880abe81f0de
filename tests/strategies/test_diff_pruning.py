"""Diff-Pruning: what its gates do to training, what is pruned and kept, and how little a stored delta takes."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from models import batch, logits, tiny
from peftlab.backbones.loading import Backbone
from peftlab.check.small import train
from peftlab.delta.delta import load_delta
from peftlab.errors import UserError
from peftlab.masks.positions import unpack_positions
from peftlab.run import run
from peftlab.strategies.diff_pruning import AttachedDifference
from peftlab.strategies.registry import create_strategy
from peftlab.training.optimiser import build_optimiser
from runs import small


def attached(options: dict[str, Any] | None = None, **sizes: Any) -> tuple[AttachedDifference, Backbone]:
    strategy, backbone = create_strategy("diff-pruning", options or {}), tiny(**sizes)
    torch.manual_seed(0)
    made = strategy.attach(backbone)
    assert isinstance(made, AttachedDifference)
    return made, backbone


def prune(of: AttachedDifference) -> None:
    """Enter the second phase."""
    of.phases(2).begin(1)


def step(strategy: AttachedDifference, backbone: Backbone, seed: int = 0) -> torch.optim.Optimizer:
    backbone.model.train()
    optimiser = build_optimiser(strategy.parameter_groups(), 1e-2, 0.1)
    backbone.model(**batch(backbone, seed)).loss.backward()
    penalty = strategy.penalty()
    assert penalty is not None
    penalty.backward()
    optimiser.step()
    return optimiser


def test_every_weight_but_the_classifiers_has_a_difference_and_a_gate() -> None:
    strategy, backbone = attached()
    sizes: dict[str, int] = {}
    for name, parameter in strategy.tuned().items():
        part = name.rpartition(".")[2]
        sizes[part] = sizes.get(part, 0) + parameter.numel()
    tensors = len(dict(backbone.model.named_parameters())) // 4
    assert sizes == {"difference": backbone.size, "alpha": backbone.size, "group_alpha": tensors}


def test_393_tensors_of_bert_large_are_two_of_the_classifier_and_391_groups() -> None:
    strategy, _ = attached(num_hidden_layers=24, hidden_size=4, intermediate_size=4, num_attention_heads=1)
    groups = [name for name in strategy.tuned() if name.endswith("group_alpha")]
    assert len(groups) + len(strategy.classifier()) == 393


def test_rates_decay_and_clipping_are_the_authors() -> None:
    strategy, backbone = attached()
    optimiser = build_optimiser(strategy.parameter_groups(), 1e-5, 0.1)
    names = ("lr", "weight_decay", "schedule", "clip_separately")
    weights, gates = optimiser.param_groups
    assert [weights[name] for name in names] == [1e-5, 0, "decay", False]
    assert [gates[name] for name in names] == [0.1, 0, "constant", True]
    assert sum(p.numel() for p in weights["params"]) == backbone.size + 66
    prune(strategy)
    (kept,) = build_optimiser(strategy.parameter_groups(), 1e-5, 0.1).param_groups
    assert [kept[name] for name in names] == [5e-5, 0, "decay", False]


@pytest.mark.parametrize("form", ["product", "sum"])
def test_the_penalty_at_the_start(form: str) -> None:
    strategy, backbone = attached({"l0_form": form, "l0": 1.0})
    tensors = sum(name.endswith("group_alpha") for name in strategy.tuned())
    opened = 1 / (1 + math.exp(-5))
    expected = {"product": backbone.size * opened**2, "sum": (backbone.size + tensors) * opened}
    assert strategy.penalty() is not None
    assert strategy.penalty().item() == pytest.approx(expected[form], rel=1e-5)
    prune(strategy)
    assert strategy.penalty() is None


def test_gates_close_under_the_penalty_and_the_density_says_so() -> None:
    strategy, backbone = attached({"l0": 1.0, "alpha_rate": 1.0, "alpha": 1.0})
    before = strategy.logged_metrics()["density"]
    assert before == pytest.approx((1 / (1 + math.exp(-1))) ** 2, rel=1e-4)
    for seed in range(3):
        step(strategy, backbone, seed)
    assert strategy.logged_metrics()["density"] < 0.05
    prune(strategy)
    assert strategy.logged_metrics()["density"] == strategy.num_tuned() / backbone.size


@pytest.mark.parametrize("target", [0.005, 0.1, 0.6])
def test_the_largest_changes_are_kept_and_go_on_from_their_ungated_values(target: float) -> None:
    strategy, backbone = attached({"target": target, "alpha": 0.5})
    step(strategy, backbone)
    differences = {name: p.detach().clone() for name, p in strategy.tuned().items() if name.endswith("difference")}
    prune(strategy)
    assert strategy.num_tuned() <= target * (backbone.size + 66)
    values = strategy.tuned()
    kept = {name.removesuffix(".values"): strategy._sparse()[name.removesuffix(".values")].positions for name in values}
    for name, positions in kept.items():
        assert torch.equal(values[f"{name}.values"], differences[f"{name}.difference"].flatten()[positions])
    if target == 0.005:
        # One step of Adam: all changes are of the rate's size or gated below it, but for what no token reached.
        assert strategy.num_tuned() + 66 >= 0.9 * target * backbone.size
        assert min(values[name].abs().min() for name in values) > 5e-3


def test_the_mask_stays_and_only_kept_weights_move() -> None:
    strategy, backbone = attached({"finetune_rate": 1e-2})
    step(strategy, backbone)
    prune(strategy)
    before = {name: value.detach().clone() for name, value in strategy.tuned().items()}
    positions = {name: module.positions.clone() for name, module in strategy._sparse().items()}
    optimiser = build_optimiser(strategy.parameter_groups(), 1e-2, 0.1)
    assert not optimiser.state
    backbone.model(**batch(backbone)).loss.backward()
    optimiser.step()
    assert any(not torch.equal(before[name], value) for name, value in strategy.tuned().items())
    pristine = dict(tiny().model.named_parameters())
    strategy.merge()
    for name, parameter in backbone.model.named_parameters():
        if name.startswith("classifier"):
            continue
        moved = (parameter - pristine[name]).flatten().nonzero().flatten()
        assert set(moved.tolist()) <= set(positions.get(name, torch.tensor([])).tolist()), name


@pytest.mark.parametrize("target", [0.005, 0.05])
def test_a_stored_delta_takes_within_a_tenth_of_what_it_holds(target: float) -> None:
    strategy, backbone = attached({"target": target, "finetune_rate": None}, hidden_size=64, vocab_size=3000)
    train(strategy, steps=4)
    kept = strategy.num_tuned()
    assert kept > 0.5 * target * backbone.size
    ways = [math.lgamma(n + 1) for n in (backbone.size, kept, backbone.size - kept)]
    held = (ways[0] - ways[1] - ways[2]) / math.log(2) / 8 + 4 * kept + 4 * 130
    assert held <= strategy.stored_bytes() <= 1.1 * held


def test_a_delta_that_does_not_fit_is_refused() -> None:
    strategy, backbone = attached()
    train(strategy, steps=4)
    delta = strategy.delta()
    fresh, _ = attached()
    wrong = [
        {name: value for name, value in delta.items() if name != "values"},
        {name: value for name, value in delta.items() if name != "classifier.bias"},
        {**delta, "values": delta["values"][1:]},
        {**delta, "values": delta["values"].view(1, -1)},
        {**delta, "values": delta["values"].long()},
        {**delta, "positions": delta["positions"][1:]},
        {**delta, "classifier.bias": torch.zeros(3)},
    ]
    for tensors in wrong:
        with pytest.raises(UserError, match="delta"):
            fresh.load_delta(tensors)
    fresh.load_delta(delta)
    inputs = batch(backbone)
    assert torch.equal(logits(fresh.backbone, inputs), logits(backbone, inputs))


def test_steps_are_shared_out_and_the_first_phase_has_one_at_least() -> None:
    shares = {(0.5, 10): [5, 5], (0.5, 1): [1, 0], (0.01, 10): [1, 9], (0.75, 4): [3, 1], (0.99, 3): [3, 0]}
    for (share, steps), expected in shares.items():
        assert attached({"share": share})[0].phases(steps).lengths == expected


@pytest.mark.parametrize(
    "options",
    [
        {"target": 0.0},
        {"target": 1.0},
        {"l0": -1.0},
        {"alpha_rate": 0.0},
        {"share": 0.0},
        {"share": 1.0},
        {"finetune_rate": 0.0},
        {"lower": 0.0},
        {"upper": 1.0},
        {"l0_form": "mean"},
    ],
)
def test_options_out_of_range_are_told(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"strategy\..*allowed"):
        create_strategy("diff-pruning", options)


@pytest.mark.parametrize(
    ("options", "best"),
    [
        ("trainer.max_steps=-1 trainer.max_epochs=4 trainer.limit_train_batches=2", {3, 4}),
        ("shots=16 trainer.max_steps=-1 trainer.max_epochs=2 trainer.precision=bf16-mixed", {2}),
        ("trainer.max_steps=1", {None}),
    ],
)
def test_a_whole_run_keeps_an_epoch_of_the_second_phase(options: str, best: set[int | None], tmp_path: Path) -> None:
    record = run(small(options, strategy="diff-pruning"), tmp_path)
    assert record.status == "finished"
    assert record.training is not None
    assert record.parameters is not None
    assert record.training.best_epoch in best
    assert 0 < record.parameters.tuned <= 0.005 * (record.parameters.total + record.parameters.classifier)
    delta = load_delta(tmp_path)
    count = len(delta.tensors["values"])
    assert count == record.parameters.tuned
    assert len(unpack_positions(delta.tensors["positions"], count, record.parameters.total)) == count
