"""How much the loss depends on each weight: squared gradients over a task's data."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

Batch = TypeVar("Batch")


def fisher_information(
    model: nn.Module,
    loss: Callable[[Batch], Tensor],
    batches: Iterable[Batch],
    parameters: Mapping[str, nn.Parameter],
    max_norm: float | None,
) -> dict[str, Tensor]:
    """Return the mean over batches of the squared gradient of each weight, by the parameters' names and shapes.

    The gradient is that of a batch's mean loss, with dropout as in training. With batches of one this is the empirical
    Fisher information (Child-Tuning, Eq. 4); larger batches square a mean, as the authors' code does.

    Args:
        model: is put into training mode, and back; its gradients are left alone.
        loss: gives the mean loss of a batch.
        batches: at least one; the gradients of a batch's examples are averaged before squaring.
        parameters: of the model, those to measure.
        max_norm: each parameter's gradient is scaled down to this norm before squaring; None: not.
    """
    was_training = model.training
    model.train()
    sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in parameters.items()}
    count = 0
    for count, batch in enumerate(batches, start=1):  # noqa: B007 (it is read after the loop)
        gradients = torch.autograd.grad(loss(batch), list(parameters.values()))
        for total, gradient in zip(sums.values(), gradients, strict=True):
            total += clipped(gradient, max_norm).square()
    model.train(was_training)
    return {name: total / count for name, total in sums.items()}


def clipped(gradient: Tensor, max_norm: float | None) -> Tensor:
    """Return a gradient scaled down to `max_norm`, as `torch.nn.utils.clip_grad_norm_` does it for one tensor."""
    if max_norm is None:
        return gradient
    return gradient * (max_norm / (torch.linalg.vector_norm(gradient) + 1e-6)).clamp(max=1.0)
