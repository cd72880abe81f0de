"""A forward pass of a backbone over a batch, which may hold more than its model reads."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from peftlab.backbones.loading import Backbone


def inputs_of(backbone: Backbone, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return those entries of a batch that the backbone's model reads; labels are not among them."""
    return {name: batch[name] for name in backbone.tokenizer.model_input_names if name in batch}


def outputs_of(backbone: Backbone, batch: Mapping[str, Any]) -> Any:
    """Return what the backbone's model gives for a batch, as transformers names it (`logits` and more)."""
    return backbone.model(**inputs_of(backbone, batch))


@torch.no_grad()
def hidden_states(backbone: Backbone, size: int = 2, length: int = 8) -> Tensor:
    """Return the last hidden states [size, length, D] of fixed random tokens, without dropout: two models compared.

    The output layer is left out, whatever it takes: strategies leave it where it is.
    """
    model, config = backbone.model, backbone.model.config
    ids = torch.randint(config.vocab_size, (size, length), generator=torch.Generator().manual_seed(0))
    ids[ids == config.pad_token_id] = config.vocab_size - 1
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        found: Tensor = model.base_model(input_ids=ids.to(model.device))[0]
    finally:
        for module, training in modes.items():
            module.training = training
    return found
