"""What the loss says of each head: gradients at its output (Michel et al., 2019), and at its weights (Fisher)."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from peftlab.backbones.view import BackboneView
from peftlab.heads.padding import real_tokens, zero_pads
from peftlab.heads.weights import HeadMatrix, head_parts, weight_of

Batch = TypeVar("Batch", bound=Mapping[str, Any])


def gradient_scores(
    model: nn.Module,
    view: BackboneView,
    loss: Callable[[Batch], Tensor],
    examples: Iterable[Batch],
    measures: Sequence[str],
    parts: Sequence[HeadMatrix],
) -> dict[str, Tensor]:
    """Return the means over examples of what `measures` names, float64 [L, H] each on the CPU.

    `gradient`: |y_h . dL/dy_h|, y_h being a head's output on all real tokens (Michel et al., 2019, arXiv 1905.10650,
    Sec. 4.1; their code takes the absolute value at each token instead). `fisher`: the sum of (w g)^2 over a head's
    weights (Molchanov et al., 2019, arXiv 1906.10771: the first-order term, summed over the group). Keys and values
    that heads share count for each of them; where one layer serves all depths, `gradient` is summed over these. The
    model runs in evaluation mode, one example at a time: nothing is kept of it but sums, and gradients of weights go as
    soon as they are there.

    Args:
        model: its weights and their gradients are left as they are.
        view: of the model.
        loss: of a batch of one example; its labels are read.
        examples: batches of one each; of texts `attention_mask` [M, S] of all sequences of the example among them.
        measures: `gradient`, `fisher`, or both.
        parts: the projections whose weights are a head's, `output` among them maybe.
    """
    sums = {name: torch.zeros(view.num_layers, view.num_heads, dtype=torch.float64) for name in measures}
    current: Batch
    count = 0

    def at_output(layer: int, outputs: Tensor, gradient: Tensor) -> None:
        shape = (*outputs.shape[:2], view.num_heads, view.head_dim)
        products = outputs.view(shape).to(torch.float64) * gradient.view(shape).to(torch.float64)
        sums["gradient"][layer] += zero_pads(products, real_tokens(current, products)).sum((0, 1, 3)).abs().cpu()

    def at_weight(layer: int, moved: Tensor) -> None:
        sums["fisher"][layer] += moved.cpu()

    was_training = model.training
    model.eval()
    with torch.enable_grad(), without_gradients(model), ExitStack() as listening:
        if "gradient" in measures:
            listening.enter_context(_output_gradients(view, at_output))
        if "fisher" in measures:
            listening.enter_context(_weight_gradients(view, parts, at_weight))
        for current in examples:
            count += 1
            torch.autograd.backward(loss(current))
    model.train(was_training)
    return {name: total / max(count, 1) for name, total in sums.items()}


@contextmanager
def without_gradients(model: nn.Module) -> Iterator[None]:
    """Let no parameter require a gradient inside; afterwards flags and gradients are as before."""
    before = [(parameter, parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        yield
    finally:
        for parameter, required, gradient in before:
            parameter.requires_grad_(required)
            parameter.grad = gradient


@contextmanager
def _output_gradients(view: BackboneView, consume: Callable[[int, Tensor, Tensor], None]) -> Iterator[None]:
    """Call `consume(layer, outputs, gradient)`, each [B, S, H * D'], as soon as a backward pass reaches them."""

    def listen(layer: int) -> Callable[[nn.Module, tuple[Tensor, ...]], tuple[Any, ...]]:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
            # Where nothing below requires a gradient the graph begins here.
            outputs = inputs[0] if inputs[0].requires_grad else inputs[0].detach().requires_grad_()
            values = outputs.detach()
            outputs.register_hook(lambda gradient: consume(layer, values, gradient))
            return (outputs, *inputs[1:])

        return hook

    handles = [view.head_output(layer).register_forward_pre_hook(listen(layer)) for layer in range(view.num_layers)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _weight_gradients(
    view: BackboneView, parts: Sequence[HeadMatrix], consume: Callable[[int, Tensor], None]
) -> Iterator[None]:
    """Call `consume(layer, sums)`, of (w g)^2 by head [H], as soon as a weight has its gradient, and free that."""
    owners: dict[nn.Parameter, list[tuple[int, int, Tensor]]] = {}
    for layer in range(view.num_layers):
        for part in parts:
            module, axis, places = head_parts(view, layer, part)
            owners.setdefault(weight_of(module), []).append((layer, axis, places))

    def hook(weight: nn.Parameter) -> None:
        assert weight.grad is not None
        squares = (weight.detach().to(torch.float64) * weight.grad.to(torch.float64)).square_()
        weight.grad = None
        for layer, axis, places in owners[weight]:
            consume(layer, squares.sum(1 - axis)[places.to(squares.device)].sum(-1))

    handles = []
    for weight in owners:
        weight.requires_grad_(True)
        weight.grad = None
        handles.append(weight.register_post_accumulate_grad_hook(hook))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
