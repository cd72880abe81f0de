"""The outputs of all attention heads, taken layer by layer while a forward pass runs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from peftlab.backbones.view import BackboneView

Consumer = Callable[[int, Tensor], None]


@contextmanager
def head_outputs(view: BackboneView, consume: Consumer) -> Iterator[None]:
    """Call `consume(layer, outputs)` for each layer of each forward pass inside this context.

    `outputs` is [B, S, H, D'], read at the input of the attention's output projection, where the heads lie side
    by side under every attention kernel. Nothing is kept, so memory does not grow with the layers.
    """

    def hook(layer: int, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        batch, length, _ = inputs[0].shape
        consume(layer, inputs[0].view(batch, length, view.num_heads, view.head_dim))

    handles = [
        view.head_output(layer).register_forward_pre_hook(partial(hook, layer)) for layer in range(view.num_layers)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
