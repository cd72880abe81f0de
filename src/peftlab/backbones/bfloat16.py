"""`backbone.dtype=bfloat16`: the frozen matrices of a backbone take half the memory.

Rounded once, when they are read, they are the same numbers wherever a delta is put onto them again; kept in bfloat16
while training, autocast finds them as it would have made them, so that no number depends on how they are kept.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Conv1D


def round_matrices(model: nn.Module) -> None:
    """Round the matrices of linear layers and embeddings to bfloat16; they stay in their type."""
    for module in _with_matrices(model):
        module.weight.data = module.weight.data.bfloat16().to(module.weight.dtype)


def keep_frozen_in_bfloat16(model: nn.Module) -> None:
    """Keep in bfloat16 the matrices that nothing tunes; for training under autocast alone.

    Embeddings give what they gave, in float32: nothing would round their sum with that of the positions again.
    """
    for module in _with_matrices(model):
        if module.weight.requires_grad or module.weight.dtype == torch.bfloat16:
            continue
        kind = module.weight.dtype
        module.weight.data = module.weight.data.bfloat16()
        if isinstance(module, nn.Embedding):
            module.register_forward_hook(_As(kind))


class _As:
    """A forward hook that gives a module's output in a type."""

    def __init__(self, kind: torch.dtype) -> None:
        self._kind = kind

    def __call__(self, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return output.to(self._kind)


def _with_matrices(model: nn.Module) -> Iterator[Any]:
    # A parametrised layer has no weight of its own: what it is made from is tuned.
    kinds = (nn.Linear, nn.Embedding, Conv1D)
    return (module for module in model.modules() if isinstance(module, kinds) and "weight" in module._parameters)
