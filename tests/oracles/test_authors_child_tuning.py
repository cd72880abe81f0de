"""Child-Tuning against its authors' own code: the child network, the masked gradients and ten steps of D and F."""

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from authors import assert_same, backbone, batch, fixture, movement, summary, train
from torch import Tensor

from peftlab.backbones.loading import Backbone
from peftlab.data.batching import cut
from peftlab.masks.child_network import ChildNetwork
from peftlab.masks.fisher import fisher_information
from peftlab.masks.largest import largest_share
from peftlab.strategies.child_tuning import AttachedChild, ChildTuning
from peftlab.strategies.registry import create_strategy

THEIRS = fixture("child-tuning")
P, STEPS, RATE, DECAY, EPS = 0.3, 10, 1e-3, 0.1, 1e-8


def unpacked(bits: str, shape: torch.Size) -> Tensor:
    flat = np.unpackbits(np.frombuffer(base64.b64decode(bits), np.uint8), count=shape.numel())
    return torch.from_numpy(flat.astype(bool)).view(shape)


def their_masks(ours: Backbone) -> dict[str, Tensor]:
    encoder = ours.view.encoder_parameters()
    return {name: unpacked(bits, encoder[name].shape) for name, bits in THEIRS["fisher"]["masks"].items()}


class Replayed(AttachedChild):
    """Variant F with the masks that the authors' optimiser drew, one after the other."""

    masks: Iterator[Tensor]

    def random_mask(self, gradient: Tensor) -> Tensor:
        return next(self.masks).view_as(gradient).to(gradient.dtype)


def replayed(ours: Backbone) -> Replayed:
    parameters = dict(ours.model.named_parameters())
    strategy = Replayed(ChildTuning(variant="F", p=P), ours)
    order = [*strategy.tuned(), *strategy.classifier()]
    sizes = [parameters[name].numel() for name in sorted(parameters)]

    def masks() -> Iterator[Tensor]:
        for bits in THEIRS["F"]["masks"]:
            parts = unpacked(bits, torch.Size([sum(sizes)])).split(sizes)
            named = dict(zip(sorted(parameters), parts, strict=True))
            yield from (named[name] for name in order)

    strategy.masks = masks()
    return strategy


def fixed(ours: Backbone) -> ChildTuning:
    strategy = create_strategy("child-tuning", {"p": P})
    return strategy.attach(ours, ChildNetwork(their_masks(ours), 0.0, 14))


def batches(order: list[int], size: int) -> Iterator[dict[str, Tensor]]:
    """Yield the fixture's examples in the order in which the authors' data loader gave them, padded to the longest."""
    inputs = batch(1000, size=len(order))
    for chosen in cut(order, size):
        longest = int(inputs["attention_mask"][chosen].sum(1).max())
        found = {name: values[chosen] for name, values in inputs.items()}
        yield {name: values[:, :longest] if values.ndim == 2 else values for name, values in found.items()}


def test_the_child_network_is_the_authors() -> None:
    theirs = THEIRS["fisher"]
    ours = backbone("bert", torch.float32)
    encoder = ours.view.encoder_parameters()
    given = batches(theirs["examples"], theirs["batch_size"])
    measured = fisher_information(ours.model, lambda one: ours.model(**one).loss, given, encoder, theirs["max_norm"])
    masks, threshold = largest_share(measured, P)
    assert masks.keys() == their_masks(ours).keys()
    assert sum(mask.numel() for mask in masks.values()) == theirs["entries"]
    assert sum(int(mask.sum()) for mask in masks.values()) == theirs["kept"]
    # They name the percentile, which lies between two values; we the smallest value kept.
    assert threshold == pytest.approx(theirs["threshold"], rel=1e-3)
    for name, mask in their_masks(ours).items():
        assert torch.equal(masks[name], mask), name


@pytest.mark.parametrize(("variant", "attached"), [("D", fixed), ("F", replayed)])
def test_ten_steps_are_the_authors(variant: str, attached: Any) -> None:
    theirs, ours = THEIRS[variant], backbone("bert")
    strategy = attached(ours)
    parameters = dict(ours.model.named_parameters())

    def compare(step: int) -> None:
        if step == 0:
            gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
            assert_same(summary(gradients), theirs["gradient"], relative=1e-6)
        if str(step + 1) in theirs["moved"]:
            # They decay after the step and PyTorch before it: rate times decay, 1e-4, of a step apart.
            assert_same(movement(parameters), theirs["moved"][str(step + 1)], relative=5e-4)

    norms = train(strategy, STEPS, RATE, DECAY, compare, huggingface_eps=EPS)
    assert norms == pytest.approx(theirs["norms"], rel=1e-4)
