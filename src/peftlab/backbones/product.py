"""A product with a layer's weight, by the way that the layer takes: the laboratory's kernel, or torch by itself."""

import torch
import torch.nn.functional as F
from torch import Tensor

from peftlab.kernels.linear import product


def layer_product(fast: bool, inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b of [..., D], [N, D] and [N] as [..., N]; autograd does not see through it.

    `fast`: the layer goes by way of `use_fast_products` (`backbone.kernels`).
    """
    if fast:
        return product(inputs, weight, bias)
    with torch.autocast(inputs.device.type, enabled=False):
        return F.linear(inputs, weight, bias)
