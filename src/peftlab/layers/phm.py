"""Parameterised hypercomplex multiplication (Zhang et al., 2021), as Compacter uses it (arXiv 2106.04647)."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from peftlab.layers.bottleneck import Bottleneck, Nonlinearity

Glorot = Literal["glorot-normal", "glorot-uniform"]


class PHMLinear(nn.Module):
    """y = x H + b with H = sum_i A_i kron B_i and B_i = s_i t_i^T of rank one (Eq. 4 to 6).

    Args:
        rule: A, [n, n, n]; one parameter that all layers of a model may share.
        inputs: width of x, a multiple of n.
        outputs: width of y, a multiple of n.
        init: how s and t start, `glorot-normal` with gain 1 or `glorot-uniform` with gain sqrt(2).
        holds_rule: otherwise the rule is no parameter of the layer, and each `forward` is given one.
    """

    rule: nn.Parameter | None

    def __init__(self, rule: nn.Parameter, inputs: int, outputs: int, init: Glorot, holds_rule: bool = True) -> None:
        super().__init__()
        n = len(rule)
        self.register_parameter("rule", rule if holds_rule else None)
        self.left = nn.Parameter(_glorot(init, n, inputs // n, 1))
        self.right = nn.Parameter(_glorot(init, n, 1, outputs // n))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, inputs: Tensor, rule: Tensor | None = None) -> Tensor:
        """Map [..., inputs] to [..., outputs], by the layer's own rule or by another."""
        return inputs @ self.matrix(rule) + self.bias

    def matrix(self, rule: Tensor | None = None) -> Tensor:
        """Return H, [inputs, outputs]: entry (a p + b, c q + d) is sum_i A_i[a, c] s_i[b] t_i[d]."""
        rule = self.rule if rule is None else rule
        blocks = torch.einsum("iac,ib,id->abcd", rule, self.left.squeeze(2), self.right.squeeze(1))
        return blocks.flatten(2).flatten(0, 1)


def shared_rule(n: int, std: float) -> nn.Parameter:
    """Return A, [n, n, n], drawn from N(0, std)."""
    return nn.Parameter(torch.randn(n, n, n) * std)


def phm_bottleneck(
    rule: nn.Parameter,
    width: int,
    bottleneck: int,
    nonlinearity: Nonlinearity,
    init: Glorot,
    holds_rule: bool = True,
) -> Bottleneck:
    """Return a bottleneck of two PHM layers: 3 * (width + bottleneck) weights besides the rule."""
    down = PHMLinear(rule, width, bottleneck, init, holds_rule)
    up = PHMLinear(rule, bottleneck, width, init, holds_rule)
    return Bottleneck(down, up, nonlinearity)


def _glorot(init: Glorot, n: int, rows: int, columns: int) -> Tensor:
    # Each of the n matrices on its own: a tensor of three dimensions would count its fan otherwise.
    factors = torch.empty(n, rows, columns)
    for factor in factors:
        if init == "glorot-normal":
            nn.init.xavier_normal_(factor)
        else:
            nn.init.xavier_uniform_(factor, gain=math.sqrt(2))
    return factors
