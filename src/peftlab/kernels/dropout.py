"""Dropout whose random numbers are drawn in bulk.

On a CPU torch draws one number after another, 5 ns each, which is a sixth of a training step of a small BERT. A
generator of numpy, seeded from torch's, fills 16 bits an element eight times as fast: torch's seeds, its random state
and gradient checkpointing mean what they always do, and every device but the CPU keeps torch's dropout.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

_VALUES = 2**16


def dropout(inputs: Tensor, p: float) -> Tensor:
    """Return `inputs` with each element zero with probability p, the others scaled so that the mean stays.

    On a CPU p is taken to the nearest 1/65536, and the scale goes with it.
    """
    dropped = round(p * _VALUES)
    if inputs.device.type != "cpu" or not 0 < dropped < _VALUES:
        return F.dropout(inputs, p)
    return _Dropout.apply(inputs, dropped)


class Dropout(nn.Dropout):
    """`nn.Dropout` by way of `dropout`."""

    def forward(self, inputs: Tensor) -> Tensor:
        """Map any shape to itself."""
        return dropout(inputs, self.p) if self.training and not self.inplace else super().forward(inputs)


def use_fast_dropout(model: nn.Module) -> None:
    """Let `Dropout` stand for every `nn.Dropout` of a model."""
    for name, module in list(model.named_modules()):
        if type(module) is nn.Dropout:
            model.set_submodule(name, Dropout(module.p, module.inplace).train(module.training))


def _kept(inputs: Tensor, dropped: int) -> Tensor:
    """Return int8 of the shape of `inputs`: 0 with probability dropped / 65536, else 1."""
    count = inputs.numel()
    seed = int(torch.randint(2**63 - 1, ()))
    words = torch.from_numpy(np.random.SFC64(seed).random_raw(-(-count // 4)))
    # int16 all the way: compared into booleans, and those multiplied, each pass would take several times as long.
    return words.view(torch.int16)[:count].ge_(dropped - _VALUES // 2).to(torch.int8).view(inputs.shape)


# The same as an operator: to a compiled model, whose graph numpy's generator would break at each dropout, one node.
_kept_operator = torch.library.custom_op("peftlab::kept", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))(
    _kept
)


@_kept_operator.register_fake
def _shape_of_kept(inputs: Tensor, dropped: int) -> Tensor:
    return inputs.new_empty(inputs.shape, dtype=torch.int8)


class _Dropout(torch.autograd.Function):
    """y = x * kept / (1 - p), with one byte an element kept for the way back."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, dropped: int) -> Tensor:
        draw = _kept_operator if torch.compiler.is_compiling() else _kept
        kept = draw(inputs, dropped)
        ctx.save_for_backward(kept)
        ctx.scale = _VALUES / (_VALUES - dropped)
        return (inputs * kept.to(inputs.dtype)).mul_(ctx.scale)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = grad_outputs
        (kept,) = ctx.saved_tensors
        return (gradient * kept.to(gradient.dtype)) * ctx.scale, None
