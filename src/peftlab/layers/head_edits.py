"""What is done to the outputs of attention heads before the output projection reads them."""

import math
from abc import ABC, abstractmethod
from typing import Any, cast

import torch
from torch import Tensor, nn

from peftlab.backbones.view import input_width, weight_axis
from peftlab.layers.hard_concrete import HardConcrete, noise_like


class EditedHeads(nn.Module, ABC):
    """A frozen output projection that reads edited heads: W ((1 + scales) y + offsets) + b, with y [..., H * D'].

    Args:
        frozen: the layer to stand for: `nn.Linear`, or another with a `weight` and a `bias`, which may be None.
    """

    def __init__(self, frozen: nn.Module) -> None:
        super().__init__()
        self.frozen = cast(Any, frozen)  # its weight and bias are tensors, which the type of a module does not say
        self._axis, self._width = weight_axis(frozen), input_width(frozen)

    @abstractmethod
    def edits(self, sampled: bool) -> tuple[Tensor | None, Tensor]:
        """Return scales, or None, and offsets, [H * D'] each; `sampled`: as a training step has them."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [..., H * D'] to [..., N]."""
        scales, offsets = self.edits(self.training)
        edited = inputs if scales is None else inputs * (1 + scales)
        return cast(Tensor, self.frozen((edited + offsets).to(inputs.dtype)))

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """Write scales into the columns of the frozen layer and offsets into its bias, which it has; return it."""
        scales, offsets = self.edits(sampled=False)
        weight = self.frozen.weight.mT if self._axis else self.frozen.weight
        self.frozen.bias += weight.to(offsets.dtype) @ offsets
        if scales is not None:
            weight *= 1 + scales
        frozen: nn.Module = self.frozen
        return frozen


class HeadOffsets(EditedHeads):
    """Adds a vector to the outputs of chosen heads (LoFiT, arXiv 2406.01563, Section 3).

    Args:
        frozen: as `EditedHeads` has it.
        columns: what the layer reads of the chosen heads, int64 [k * D'], ascending.
        std: of the normal numbers that offsets begin with.
    """

    columns: Tensor

    def __init__(self, frozen: nn.Module, columns: Tensor, std: float) -> None:
        super().__init__(frozen)
        self.register_buffer("columns", columns, persistent=False)
        self.offset = nn.Parameter(std * torch.randn(len(columns)))

    def edits(self, sampled: bool) -> tuple[None, Tensor]:
        """Return no scales, and offsets that are 0 outside the chosen heads."""
        return None, self.offset.new_zeros(self._width).index_copy(0, self.columns, self.offset)


class GatedHeads(EditedHeads):
    """Scales the outputs of all heads and adds a vector, under gates: (1 + g2 A) y + g1 v (JoLA, arXiv 2502.01179).

    Args:
        frozen: as `EditedHeads` has it.
        heads: how many the layer reads.
        gates: the distribution of g1 and g2, one each for a head.
        std: of the normal numbers that A and v begin with.
    """

    def __init__(self, frozen: nn.Module, heads: int, gates: HardConcrete, std: float) -> None:
        super().__init__(frozen)
        self._gates = gates
        self.scale, self.offset = (nn.Parameter(std * torch.randn(self._width)) for _ in range(2))
        # As xavier_uniform_ draws [H, 1].
        bound = math.sqrt(6 / (heads + 1))
        self.offset_gate, self.scale_gate = (nn.Parameter(bound * (2 * torch.rand(heads) - 1)) for _ in range(2))

    def edits(self, sampled: bool) -> tuple[Tensor, Tensor]:
        """Return g2 A and g1 v; the gates are drawn where `sampled`, otherwise those of sigmoid(alpha)."""
        offsets = self._gated(self.offset, self.offset_gate, sampled)
        scales = self._gated(self.scale, self.scale_gate, sampled)
        return scales, offsets

    def open(self) -> tuple[Tensor, Tensor]:
        """Return the mean probabilities that gates of offsets, and of scales, are not 0: scalars."""
        return self._gates.open(self.offset_gate).mean(), self._gates.open(self.scale_gate).mean()

    def _gated(self, values: Tensor, alpha: Tensor, sampled: bool) -> Tensor:
        gate = self._gates.gate(alpha, noise_like(alpha) if sampled else None)
        return (gate[:, None] * values.view(len(alpha), -1)).flatten()
