"""What HiFi promises of every family: it tunes the rows of its heads alone, and merges into transformers' own model."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from peftlab.backbones.architecture import PROJECTIONS
from peftlab.backbones.loading import Backbone
from peftlab.check.essentials import plain_model
from peftlab.check.small import train
from peftlab.heads.selection import ChosenHeads
from peftlab.strategies.registry import create_strategy

CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def tunes_its_rows_alone_and_merges(backbone: Backbone, untouched: nn.Module, inputs: Mapping[str, Any]) -> None:
    """Assert that HiFi starts at the logits of `untouched`, moves its rows alone, and merges into a plain model."""
    heads = ((0, 1), (3,))[: backbone.view.num_layers]
    attached = create_strategy("hifi", {"k": 2}).attach(backbone, ChosenHeads(heads))
    with torch.no_grad():
        torch.testing.assert_close(backbone.model(**inputs).logits, untouched(**inputs).logits, **CLOSE)
    train(attached, steps=3)
    tuned = backbone.model(**inputs).logits.detach()
    attached.merge()
    _moved_alone(backbone, dict(untouched.named_parameters()), heads)
    with torch.no_grad():
        torch.testing.assert_close(plain_model(backbone)(**inputs).logits, tuned, **CLOSE)


def _moved_alone(backbone: Backbone, untouched: Mapping[str, Tensor], heads: tuple[tuple[int, ...], ...]) -> None:
    chosen: dict[str, set[int]] = {}
    for layer, own in enumerate(heads):
        for which in PROJECTIONS:
            name, rows = backbone.view.head_rows(layer, which, own)
            chosen.setdefault(f"{name}.weight", set()).update(rows.tolist())
    classifier = {name for name, _ in backbone.view.classifier_parameters()}
    merged, axis = dict(backbone.model.named_parameters()), backbone.view.axis("query")
    for name, before in untouched.items():
        if name in chosen:
            moved = (merged[name] != before).movedim(axis, 0).any(1).nonzero().flatten().tolist()
            assert set(moved) == chosen[name], name
        elif name not in classifier:
            assert torch.equal(merged[name], before), name
