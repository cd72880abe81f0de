"""A forward pass of a backbone over a batch, which may hold more than its model reads."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from peftlab.backbones.loading import Backbone
from peftlab.backbones.modality import family_of


def inputs_of(backbone: Backbone, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return those entries of a batch that the backbone's model reads; labels are not among them."""
    return {name: batch[name] for name in backbone.processor.model_input_names if name in batch}


def num_sequences(inputs: Mapping[str, Tensor]) -> int:
    """Return how many sequences (images) what a model reads holds: M of [M, ...]."""
    return len(next(iter(inputs.values())))


def outputs_of(backbone: Backbone, batch: Mapping[str, Any]) -> Any:
    """Return what the backbone's model gives for a batch, as transformers names it (`logits` and more)."""
    return backbone.model(**inputs_of(backbone, batch))


@torch.no_grad()
def hidden_states(backbone: Backbone, size: int = 2, length: int = 8) -> Tensor:
    """Return the last hidden states [size, length, D] of fixed random inputs, without dropout: two models compared.

    The output layer is left out, whatever it takes: strategies leave it where it is.
    """
    model = backbone.model
    inputs = backbone.modality.random_inputs(model, size, length, torch.Generator().manual_seed(0))
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        found: Tensor = family_of(model).base(model)(**inputs)[0]
    finally:
        for module, training in modes.items():
            module.training = training
    return found
