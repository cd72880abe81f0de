"""Pretrained weights plus a difference, as parametrizations (`torch.nn.utils.parametrize`) of a module's weights."""

from typing import cast

import torch
from torch import Tensor, nn

from peftlab.layers.hard_concrete import ExpectedOpen, Gated, HardConcrete, noise_like


class GatedDifference(nn.Module):
    """theta0 + z_group * z * w: dense, with a gate for each weight and, where `grouped`, one for all of the tensor.

    Gates are drawn anew at each pass in training mode and are deterministic in evaluation mode.

    Args:
        weights: the pretrained tensor theta0, of any shape; w begins at 0.
        start: what alpha begins with, for each gate.
        distribution: that of the gates.
        grouped: whether there is a gate for the whole tensor.
    """

    def __init__(self, weights: Tensor, start: float, distribution: HardConcrete, grouped: bool) -> None:
        super().__init__()
        self.difference = nn.Parameter(torch.zeros_like(weights))
        self.alpha = nn.Parameter(torch.full_like(weights, start))
        self.group_alpha = nn.Parameter(weights.new_full((1,), start)) if grouped else None
        self.distribution = distribution

    def forward(self, weights: Tensor) -> Tensor:
        """Return the tuned weights, of the pretrained ones' shape."""
        options = (self.distribution, self.training)
        return weights + cast(Tensor, Gated.apply(self.difference, self.alpha, self.group_alpha, *options))

    def expected_open(self, product: bool) -> Tensor:
        """Return the penalty's sum for this tensor, a scalar: how many of its gates are expected to be open.

        With `product` a weight counts when its own gate and the group's are open, as in the paper; otherwise gates of
        weights and groups are added up as if they were alike, as in the authors' code.
        """
        gates = cast(Tensor, ExpectedOpen.apply(self.alpha, self.distribution))
        if self.group_alpha is None:
            return gates
        group = self.distribution.open(self.group_alpha).sum()
        return group * gates if product else group + gates

    @torch.no_grad()
    def sampled(self, weights: Tensor, generator: torch.Generator) -> Tensor:
        """Return the change of the pretrained weights under one draw of the gates, of their shape.

        It is what the sum with the pretrained weights can hold of the difference, as the authors measure it.
        """
        gate = self.distribution.gate(self.alpha, noise_like(self.alpha, generator))
        if self.group_alpha is not None:
            gate *= self.distribution.gate(self.group_alpha, noise_like(self.group_alpha, generator))
        return weights + gate.mul_(self.difference) - weights


class SparseDifference(nn.Module):
    """theta0 + a difference at few positions.

    Args:
        positions: int64 [k], ascending indices into the flattened tensor.
        values: [k].
    """

    positions: Tensor

    def __init__(self, positions: Tensor, values: Tensor) -> None:
        super().__init__()
        self.register_buffer("positions", positions)
        self.values = nn.Parameter(values)

    def forward(self, weights: Tensor) -> Tensor:
        """Return the tuned weights, of the pretrained ones' shape."""
        return weights.flatten().index_add(0, self.positions, self.values).view_as(weights)
