"""How much the loss depends on each weight: squared gradients over a task's data."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from peftlab.backbones.forward import batch_of, loss_of
from peftlab.backbones.loading import Backbone
from peftlab.data.tokens import TokenisedSplit


def fisher_information(
    backbone: Backbone,
    examples: TokenisedSplit,
    parameters: Mapping[str, nn.Parameter],
    batch_size: int,
    max_norm: float | None,
    device: torch.device,
) -> dict[str, Tensor]:
    """Return the mean over batches of the squared gradient of each weight, by the parameters' names and shapes.

    The gradient is that of a batch's mean loss, with dropout as in training. With `batch_size=1` this is the empirical
    Fisher information (Child-Tuning, Eq. 4); larger batches square a mean, as the authors' code does.

    Args:
        backbone: its model lies on `device`; its gradients are left alone.
        examples: in the order they are taken.
        parameters: those to measure.
        batch_size: examples whose gradients are averaged before squaring.
        max_norm: each parameter's gradient is scaled down to this norm before squaring; None: not.
        device: where the passes run.
    """
    model = backbone.model
    was_training = model.training
    model.train()
    sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in parameters.items()}
    starts = range(0, len(examples), batch_size)
    for start in starts:
        chosen = range(start, min(start + batch_size, len(examples)))
        loss = loss_of(backbone, batch_of(backbone, examples, chosen, device))
        for total, gradient in zip(sums.values(), torch.autograd.grad(loss, list(parameters.values())), strict=True):
            total += clipped(gradient, max_norm).square()
    model.train(was_training)
    return {name: total / len(starts) for name, total in sums.items()}


def clipped(gradient: Tensor, max_norm: float | None) -> Tensor:
    """Return a gradient scaled down to `max_norm`, as `torch.nn.utils.clip_grad_norm_` does it for one tensor."""
    if max_norm is None:
        return gradient
    return gradient * (max_norm / (torch.linalg.vector_norm(gradient) + 1e-6)).clamp(max=1.0)
