"""Tiny attention as a strategy: what decays, what a mixture leaves behind, and how it begins from a run."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models import batch, logits, tiny
from peftlab.backbones.loading import Backbone
from peftlab.check.small import train
from peftlab.delta.delta import save_delta
from peftlab.errors import UserError
from peftlab.run import run
from peftlab.strategies.attached import Attached
from peftlab.strategies.registry import create_strategy
from peftlab.strategies.restore import apply_delta, describe_delta, restore
from runs import small


def attached(labels: tuple[str, ...] = ("yes", "no"), **options: Any) -> tuple[Attached, Backbone]:
    backbone = tiny(labels=labels)
    torch.manual_seed(0)
    return create_strategy("tiny-attention", options).attach(backbone), backbone


def finished(folder: Path, **options: Any) -> tuple[Attached, Backbone]:
    """Return a trained strategy whose delta is in `folder`."""
    strategy, backbone = attached(**options)
    train(strategy, steps=3)
    save_delta(describe_delta(strategy, {"name": backbone.name}, "rte", ["yes", "no"], {}), folder)
    return strategy, backbone


def test_everything_of_a_tiny_module_decays_and_the_classifier_as_everywhere() -> None:
    strategy, _ = attached()
    decay = {name: group.weight_decay for group in strategy.parameter_groups() for name in group.parameters}
    assert {decay[name] for name in strategy.tuned()} == {1.0}
    assert {name: decay[name] for name in strategy.classifier()} == {"classifier.weight": 1.0, "classifier.bias": 0.0}


@pytest.mark.parametrize(("average", "modules"), [(True, 1), (False, 4)])
def test_a_mixture_stores_what_it_is_evaluated_with(average: bool, modules: int) -> None:
    strategy, backbone = attached(experts=4, average=average)
    train(strategy, steps=3)
    one, _ = attached()
    classifier = sum(p.numel() for p in strategy.classifier().values())
    assert strategy.stored_bytes() == 4 * (modules * one.num_tuned() + classifier)
    delta = describe_delta(strategy, {"name": backbone.name}, "rte", ["yes", "no"], {})
    fresh = tiny(seed=9)
    apply_delta(delta, fresh)
    assert torch.equal(logits(fresh, batch(backbone)), logits(backbone, batch(backbone)))


def test_the_average_that_is_kept_is_that_of_all_experts(tmp_path: Path) -> None:
    strategy, _ = finished(tmp_path, experts=4)
    experts = [strategy.tuned()[f"layers.1.attention_norm.experts.{i}.down.weight"] for i in range(4)]
    stored = strategy.delta()["layers.1.attention_norm.experts.0.down.weight"]
    torch.testing.assert_close(stored, sum(experts) / 4)


@pytest.mark.parametrize("first", [{}, {"experts": 2}])
def test_a_mixture_begins_where_a_run_ended(first: dict[str, int], tmp_path: Path) -> None:
    _, ended = finished(tmp_path, **first)
    strategy, begun = attached(experts=4, start=str(tmp_path), average=False)
    inputs = batch(begun)
    found, expected = logits(begun, inputs), logits(ended, inputs)
    # Four shares one after the other are one module's output up to the change that each sees of the earlier ones.
    assert (found - expected).abs().max() < 0.02 * (expected - logits(tiny(), inputs)).abs().max()
    experts = [strategy.tuned()[f"layers.0.attention_norm.experts.{i}.down.bias"] for i in range(4)]
    apart = (experts[0] - experts[1]).abs().max()
    assert 0 < apart < 1e-5


def test_its_average_begins_as_the_run_itself(tmp_path: Path) -> None:
    _, ended = finished(tmp_path)
    _, begun = attached(experts=4, start=str(tmp_path))
    torch.testing.assert_close(logits(begun, batch(begun)), logits(ended, batch(begun)), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("first", "options", "labels", "message"),
    [
        ({}, {"size": 2}, ("a", "b"), "its size is 1; strategy.size=2 allows the same alone"),
        ({"size": 2}, {"size": 2, "heads": 2}, ("a", "b"), "its heads is 1; strategy.heads=2"),
        ({"experts": 2, "average": False}, {}, ("a", "b"), "it has several experts a layer; allowed are one"),
        ({}, {}, ("a", "b", "c"), "its classifier is for 2 labels"),
    ],
)
def test_a_run_that_does_not_fit_is_refused(
    first: dict[str, Any], options: dict[str, Any], labels: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    finished(tmp_path, **first)
    strategy = create_strategy("tiny-attention", {**options, "start": str(tmp_path)})
    with pytest.raises(UserError, match=f"^strategy.start={tmp_path}: {message}"):
        strategy.check(tiny(labels=labels))


def test_a_run_of_another_strategy_or_backbone_or_none_is_refused(tmp_path: Path) -> None:
    strategy = create_strategy("tiny-attention", {"start": str(tmp_path)})
    with pytest.raises(UserError, match=r"strategy.start=.*no such file"):
        strategy.check(tiny())
    finished(tmp_path)
    with pytest.raises(UserError, match=r"strategy.start=.*fingerprint"):
        strategy.check(tiny(num_hidden_layers=1))
    backbone = tiny()
    other = create_strategy("bitfit", {}).attach(backbone)
    save_delta(describe_delta(other, {"name": backbone.name}, "rte", ["yes", "no"], {}), tmp_path)
    with pytest.raises(UserError, match=r"strategy.start=.*it is of strategy bitfit; allowed is tiny-attention"):
        strategy.check(tiny())


def test_both_stages_as_runs(tmp_path: Path) -> None:
    run(small("shots=16", strategy="tiny-attention"), tmp_path / "first")
    options = f"shots=16 strategy.experts=4 strategy.start={tmp_path / 'first'}"
    record = run(small(options, strategy="tiny-attention"), tmp_path / "second")
    assert record.status == "finished"
    assert restore(tmp_path / "second").delta().keys() == restore(tmp_path / "first").delta().keys()
