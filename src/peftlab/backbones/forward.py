"""Examples of a task as a backbone takes them: a batch on its device, the inputs it knows, and the loss."""

from collections.abc import Iterable

import torch
from torch import Tensor

from peftlab.backbones.loading import Backbone
from peftlab.data.batching import collate
from peftlab.data.tokens import TokenisedSplit


def batch_of(
    backbone: Backbone, examples: TokenisedSplit, indices: Iterable[int], device: torch.device
) -> dict[str, Tensor]:
    """Return the examples at `indices` as a batch on `device`, padded as `collate` does it."""
    pad = backbone.tokenizer.pad_token_id
    assert isinstance(pad, int)
    return {name: value.to(device) for name, value in collate([examples[i] for i in indices], pad).items()}


def inputs_of(backbone: Backbone, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return those tensors of a batch that the backbone's model reads."""
    return {name: batch[name] for name in backbone.tokenizer.model_input_names if name in batch}


def loss_of(backbone: Backbone, batch: dict[str, Tensor]) -> Tensor:
    """Return the mean cross-entropy of a batch, or the mean squared error of a regression: a scalar."""
    labels = batch["labels"]
    if backbone.model.config.problem_type == "regression":
        labels = labels.float()
    loss: Tensor = backbone.model(**inputs_of(backbone, batch), labels=labels).loss
    return loss
