"""A model that is tuned for a few steps differs from the untouched one inside the context, and in nothing after it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch import Tensor

from models import tiny
from peftlab.backbones.forward import inputs_of, outputs_of
from peftlab.backbones.loading import Backbone
from peftlab.data.batching import ORDERS, cut
from peftlab.heads.brief_tuning import BriefTuning, briefly_tuned
from peftlab.inputs.text import TextEncoder
from peftlab.tasks.kind import kind_of
from peftlab.tasks.sources.demo import make_demo
from tasks.shipped import shipped

STEPS = BriefTuning(steps=3, learning_rate=1e-3, seed=1)


def batches(backbone: Backbone, number: int = 12, size: int = 4) -> Iterator[dict[str, Tensor]]:
    columns = {name: column[:number] for name, column in make_demo()["train"].items()}
    encoder = TextEncoder(backbone.processor, 32)
    examples = encoder.encode(Dataset.from_dict(columns))
    for chosen in cut(ORDERS["endless"](examples.lengths), size):
        yield encoder.collate([examples[index] for index in chosen])


def tuned(
    backbone: Backbone, how: BriefTuning = STEPS, number: int = 12, size: int = 4
) -> AbstractContextManager[None]:
    kind = kind_of(shipped("demo"))

    def loss(batch: dict[str, Tensor]) -> Tensor:
        return kind.loss(outputs_of(backbone, batch), batch)

    return briefly_tuned(backbone.model, loss, batches(backbone, number, size), how)


def weights(backbone: Backbone) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}


def tuned_to(how: BriefTuning, number: int = 12, size: int = 4) -> dict[str, Tensor]:
    backbone = tiny()
    with tuned(backbone, how, number, size):
        return weights(backbone)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys())


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra"])
def test_weights_change_inside_and_are_bit_for_bit_as_before_afterwards(kind: str) -> None:
    backbone = tiny(kind)
    before = weights(backbone)
    with tuned(backbone):
        inside = weights(backbone)
    assert not same(inside, before)
    assert same(weights(backbone), before)
    assert all(parameter.grad is None for parameter in backbone.model.parameters())


def test_every_kind_of_weight_is_tuned() -> None:
    before, inside = weights(tiny()), tuned_to(STEPS)
    for part in ("embeddings.word", "query.weight", "output.dense.bias", "LayerNorm.weight", "pooler", "classifier"):
        names = [name for name in before if part in name]
        assert names
        assert any(not torch.equal(before[name], inside[name]) for name in names), part


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_is_as_before_inside_and_after(training: bool) -> None:
    backbone = tiny()
    backbone.model.train(training)
    with tuned(backbone):
        assert backbone.model.training == training
    assert backbone.model.training == training


def test_the_weights_come_back_after_a_failure_too() -> None:
    backbone = tiny()
    before = weights(backbone)
    with pytest.raises(RuntimeError, match="inside"), tuned(backbone):
        raise RuntimeError("inside")
    assert same(weights(backbone), before)


def test_the_seed_decides_and_the_outer_random_state_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = tuned_to(STEPS)
    assert torch.equal(torch.rand(3), expected)
    assert same(first, tuned_to(STEPS))
    assert not same(first, tuned_to(BriefTuning(3, 1e-3, seed=2)))  # dropout


@pytest.mark.parametrize("change", [{"learning_rate": 2e-3}, {"steps": 4}])
def test_rate_and_number_of_steps_matter(change: dict[str, Any]) -> None:
    given = {"steps": 3, "learning_rate": 1e-3, "seed": 1}
    assert not same(tuned_to(BriefTuning(**given)), tuned_to(BriefTuning(**{**given, **change})))


def test_the_batches_matter() -> None:
    assert not same(tuned_to(STEPS, size=4), tuned_to(STEPS, size=2))


def test_one_step_moves_each_weight_by_the_rate_and_no_more() -> None:
    # Adam's first step is the sign of the gradient times the rate; weight decay would shrink large weights further.
    before, inside = weights(tiny()), tuned_to(BriefTuning(1, 1e-3, seed=1))
    moved = torch.cat([(inside[name] - before[name]).abs().flatten() for name in before if "weight" in name])
    assert moved.max() == pytest.approx(1e-3, rel=1e-3)


def test_few_examples_are_taken_over_and_over() -> None:
    # Two batches of two from two examples are the same batch twice.
    again = tuned_to(BriefTuning(4, 1e-3, seed=1), number=2, size=2)
    assert not same(again, tuned_to(BriefTuning(4, 1e-3, seed=1), number=8, size=2))


def test_a_model_reads_of_a_batch_what_it_knows() -> None:
    backbone = tiny()
    assert set(inputs_of(backbone, next(batches(backbone)))) == {"input_ids", "attention_mask", "token_type_ids"}
