"""Bottlenecks: down-projection, nonlinearity, up-projection."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor, nn

Nonlinearity = Literal["swish", "gelu", "gelu-tanh", "relu", "tanh"]
Init = Literal["normal", "near-identity", "identity"]

_FUNCTIONS: dict[Nonlinearity, Callable[[Tensor], Tensor]] = {
    "swish": F.silu,
    "gelu": F.gelu,
    "gelu-tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "tanh": F.tanh,
}


class Bottleneck(nn.Module):
    """x -> scale * up(f(down(x))), [..., D] to [..., D], without a skip connection.

    Args:
        down: maps [..., D] to [..., M].
        up: maps [..., M] to [..., D].
        nonlinearity: the name of f.
        scale: factor on the output.
    """

    def __init__(self, down: nn.Module, up: nn.Module, nonlinearity: Nonlinearity, scale: float = 1.0) -> None:
        super().__init__()
        self.down = down
        self.up = up
        self.scale = scale
        self._function = _FUNCTIONS[nonlinearity]

    def forward(self, inputs: Tensor, *shared: Tensor) -> Tensor:
        """Map [..., D] to [..., D]; what is `shared` goes to both projections."""
        return cast(Tensor, self.scale * self.up(self._function(self.down(inputs, *shared)), *shared))


def linear_bottleneck(
    width: int, bottleneck: int, nonlinearity: Nonlinearity, init: Init, scale: float = 1.0
) -> Bottleneck:
    """Return a bottleneck of two linear layers with zero biases: 2 * width * bottleneck + width + bottleneck weights.

    Args:
        width: D, the hidden size.
        bottleneck: M, the size between the layers.
        nonlinearity: the function between them.
        init: `normal`, N(0, 0.02); `near-identity`, N(0, 0.001) cut at two deviations; `identity`, an
            up-projection of zeros behind a down-projection drawn as `nn.Linear` draws it.
        scale: factor on the output.
    """
    down, up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
    for layer in (down, up):
        nn.init.zeros_(layer.bias)
        if init == "normal":
            nn.init.normal_(layer.weight, std=0.02)
        elif init == "near-identity":
            nn.init.trunc_normal_(layer.weight, std=1e-3, a=-2e-3, b=2e-3)
    if init == "identity":
        nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        nn.init.zeros_(up.weight)
    return Bottleneck(down, up, nonlinearity, scale)
