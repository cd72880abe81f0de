"""Gradient checkpointing (Chen et al., 2016, arXiv 1604.06174): memory for time, on every family and with every method.

transformers has its own, which not every family supports. Here each layer is computed again as the method has made it.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from peftlab.backbones.view import BackboneView
from peftlab.transformers_internals import own_cache


def checkpoint_layers(view: BackboneView) -> Callable[[], None]:
    """Let training keep the inputs of each layer alone, and the backward pass compute the layer again.

    Numbers stay as they are to the bit: dropout is drawn again from the same random state. Evaluation is not changed.

    Returns:
        What undoes it.
    """
    layers = [view.layer(index) for index in range(view.num_layers)]
    for layer in layers:
        layer.forward = _recomputed(layer, layer.forward)

    def undo() -> None:
        for layer in layers:
            del layer.forward

    return undo


def _recomputed(layer: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def recomputed(*positional: Any, **named: Any) -> Any:
        if layer.training and torch.is_grad_enabled():
            return checkpoint(once_more, *positional, use_reentrant=False, **named)
        return forward(*positional, **named)

    def once_more(*positional: Any, **named: Any) -> Any:
        # A decoder's layer writes its keys into the cache: the second time it would find those of the first.
        return forward(*map(own_cache, positional), **{name: own_cache(value) for name, value in named.items()})

    return recomputed
