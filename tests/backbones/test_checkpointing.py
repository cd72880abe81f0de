"""Gradient checkpointing: the same numbers on every family, with less kept for the backward pass."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from bench.models import saved_bytes
from models import batch, tiny
from peftlab.backbones.architecture import known_types
from peftlab.backbones.checkpointing import checkpoint_layers
from peftlab.backbones.loading import Backbone
from peftlab.files import content_sha256
from peftlab.run import run
from runs import logged_rows, small


def gradients(backbone: Backbone) -> dict[str, Tensor]:
    torch.manual_seed(0)
    backbone.model.train().zero_grad()
    inputs = batch(backbone)
    inputs.pop("labels")
    backbone.model(**inputs).logits.square().sum().backward()
    return {name: p.grad.clone() for name, p in backbone.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", known_types())
def test_gradients_are_those_without_it_bit_for_bit_dropout_included(kind: str) -> None:
    backbone = tiny(kind)
    plain = gradients(backbone)
    undo = checkpoint_layers(backbone.view)
    recomputed = gradients(backbone)
    assert plain.keys() == recomputed.keys()
    assert [name for name in plain if not torch.equal(plain[name], recomputed[name])] == []
    undo()
    assert not any("forward" in vars(backbone.view.layer(index)) for index in range(backbone.view.num_layers))


@pytest.mark.parametrize("kind", ["bert", "mpnet", "llama"])
def test_of_each_layer_only_its_inputs_are_kept(kind: str) -> None:
    backbone = tiny(kind, num_hidden_layers=8)
    inputs = batch(backbone)
    inputs.pop("labels")
    plain = saved_bytes(backbone.model.train(), inputs)
    checkpoint_layers(backbone.view)
    assert saved_bytes(backbone.model, inputs) < plain / 3


def test_a_run_with_it_ends_as_the_run_without_it(tmp_path: Path) -> None:
    for value in ("false", "true"):
        run(small(f"training.gradient_checkpointing={value}"), tmp_path / value)
    assert logged_rows(tmp_path / "true") == logged_rows(tmp_path / "false")
    tensors = {content_sha256(tmp_path / value / "delta.safetensors") for value in ("false", "true")}
    assert len(tensors) == 1
