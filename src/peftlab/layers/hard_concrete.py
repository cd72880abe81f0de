"""Gates that are 0, 1 or in between, whose chance to be closed is learnt (Louizos et al., 2018, arXiv 1712.01312)."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from peftlab.errors import require

# The authors of Diff-Pruning keep the noise this far from 0 and 1.
_EDGE = 1e-4


@dataclass(frozen=True)
class HardConcrete:
    """A sigmoid, stretched to [lower, upper] and cut to [0, 1].

    A gate is z = clamp(s * (upper - lower) + lower, 0, 1) with s = sigmoid((logit(u) + alpha) / temperature), where u
    is uniform and alpha is learnt; the deterministic gate has s = sigmoid(alpha).

    Raises:
        UserError: the stretch does not reach beyond 0 and 1, where gates would never close or open.
    """

    lower: float = -1.5
    upper: float = 1.5
    temperature: float = 1.0

    def __post_init__(self) -> None:
        require(-math.inf < self.lower < 0, f"strategy.lower={self.lower}: allowed is below 0")
        require(1 < self.upper < math.inf, f"strategy.upper={self.upper}: allowed is above 1")
        positive = 0 < self.temperature < math.inf
        require(positive, f"strategy.temperature={self.temperature}: allowed is above 0")

    def gate(self, alpha: Tensor, noise: Tensor | None) -> Tensor:
        """Return the gates for `noise` u, of alpha's shape; None: the deterministic ones."""
        logits = alpha if noise is None else (alpha + noise.log() - (1 - noise).log()) / self.temperature
        return (torch.sigmoid(logits) * (self.upper - self.lower) + self.lower).clamp(0, 1)

    def slope(self, gate: Tensor) -> Tensor:
        """Return dz/dalpha at a drawn gate's value: (upper - lower) * s * (1 - s) / temperature, 0 where it is cut."""
        within = (gate > 0) & (gate < 1)
        return within * (gate - self.lower) * (self.upper - gate) / (self.upper - self.lower) / self.temperature

    def open(self, alpha: Tensor) -> Tensor:
        """Return the probability that a gate is not 0: sigmoid(alpha - temperature * log(-lower / upper))."""
        return torch.sigmoid(alpha - self.temperature * math.log(-self.lower / self.upper))


def noise_like(alpha: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return uniform noise for the gates of `alpha`, anew at each call."""
    return torch.empty_like(alpha).uniform_(generator=generator).clamp_(_EDGE, 1 - _EDGE)


class Gated(torch.autograd.Function):
    """z_group * z * w; keeps the gates alone for the way back, not every value on the way to them.

    With all weights of a backbone gated, each tensor that autograd keeps by itself would be one more model in memory.
    """

    @staticmethod
    def forward(
        ctx: Any,
        difference: Tensor,
        alpha: Tensor,
        group_alpha: Tensor | None,
        distribution: HardConcrete,
        sampled: bool,
    ) -> Tensor:
        """Return the gated difference, of its shape; `group_alpha` [1] gates it as a whole, None: always open."""
        group = alpha.new_ones(1)
        if group_alpha is not None:
            group = distribution.gate(group_alpha, noise_like(group_alpha) if sampled else None)
        gate = distribution.gate(alpha, noise_like(alpha) if sampled else None)
        ctx.save_for_backward(difference, gate, group)
        ctx.distribution, ctx.grouped = distribution, group_alpha is not None
        return (group * gate).mul_(difference)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the difference, alpha and the group's alpha."""
        difference, gate, group = ctx.saved_tensors
        slope, to_gates = ctx.distribution.slope, gradient * difference
        to_group = (to_gates * gate).sum() * slope(group) if ctx.grouped else None
        return gradient * gate * group, to_gates.mul_(slope(gate)).mul_(group), to_group, None, None


class ExpectedOpen(torch.autograd.Function):
    """The sum over gates of the probability that they are open; computes it again for the way back."""

    @staticmethod
    def forward(ctx: Any, alpha: Tensor, distribution: HardConcrete) -> Tensor:
        """Return the expected number of open gates, a scalar."""
        ctx.save_for_backward(alpha)
        ctx.distribution = distribution
        return distribution.open(alpha).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of alpha: p * (1 - p)."""
        (alpha,) = ctx.saved_tensors
        probability = ctx.distribution.open(alpha)
        return probability * (1 - probability) * gradient, None
