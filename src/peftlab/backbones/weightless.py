"""A backbone as shapes alone, which takes no memory for weights: to count what a strategy would tune."""

import copy

import torch
from torch import Tensor, nn

from peftlab.backbones.loading import Backbone


def weightless(backbone: Backbone) -> Backbone:
    """Return a copy of a backbone whose tensors lie on the meta device; nothing of the original is touched."""
    model = backbone.model
    tensors = [*model.parameters(), *model.buffers()]
    # What is in the memo is not copied, and what was shared stays shared.
    return copy.deepcopy(backbone, {id(tensor): _shape(tensor) for tensor in tensors})


def copy_on_cpu(tensor: Tensor) -> Tensor:
    """Return a copy on the CPU without history; of a tensor that has no values, one alike."""
    return tensor.detach().clone() if tensor.is_meta else tensor.detach().cpu().clone()


def _shape(tensor: Tensor) -> Tensor:
    shape = torch.empty_like(tensor, device="meta")
    return nn.Parameter(shape, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else shape
