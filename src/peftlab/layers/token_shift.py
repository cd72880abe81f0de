"""A shift of each token's representation along one learned direction (AdapterBias, arXiv 2205.00305)."""

from typing import cast

import torch
from torch import Tensor, nn


class TokenShift(nn.Module):
    """alpha(x) v: how far each token is shifted, a linear function of x, along a vector v of zeros at the start.

    Args:
        alpha: maps [..., N] to [..., 1]; one module that all layers of a model may share.
        width: D, the length of v.
    """

    def __init__(self, alpha: nn.Module, width: int) -> None:
        super().__init__()
        self.alpha = alpha
        self.vector = nn.Parameter(torch.zeros(width))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [..., N] to [..., D]."""
        return cast(Tensor, self.alpha(inputs) * self.vector)
