"""A forward pass of a backbone over a batch, which may hold more than its model reads."""

from collections.abc import Mapping
from typing import Any

from peftlab.backbones.loading import Backbone


def inputs_of(backbone: Backbone, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return those entries of a batch that the backbone's model reads; labels are not among them."""
    return {name: batch[name] for name in backbone.tokenizer.model_input_names if name in batch}


def outputs_of(backbone: Backbone, batch: Mapping[str, Any]) -> Any:
    """Return what the backbone's model gives for a batch, as transformers names it (`logits` and more)."""
    return backbone.model(**inputs_of(backbone, batch))
