"""Which heads a task needs: those whose outputs a short tuning scales most (LoFiT, arXiv 2406.01563, Section 3)."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from peftlab.backbones.view import BackboneView
from peftlab.heads.brief_tuning import MAX_NORM
from peftlab.heads.gradients import without_gradients
from peftlab.streams import Stream, seed_of

Batch = TypeVar("Batch", bound=Mapping[str, Any])


@dataclass(frozen=True)
class ScaleTuning:
    """`steps` steps of AdamW without weight decay, whose rate falls linearly to 0 from `learning_rate` (code).

    `l1` stands before the sum of the absolute scales; they begin as normal numbers of deviation `std`, drawn by `seed`,
    which draws dropout too.
    """

    steps: int
    learning_rate: float
    l1: float
    std: float
    seed: int


def scale_norms(
    model: nn.Module, view: BackboneView, loss: Callable[[Batch], Tensor], batches: Iterable[Batch], how: ScaleTuning
) -> Tensor:
    """Return the norms of the scaling vectors that a tuning gives all heads, float64 [L, H] on the CPU.

    A head's output y_h becomes (1 + A_h) y_h. The classifier, drawn anew for the task, is tuned beside A; nothing else
    is. Afterwards the model is as before, bit for bit.

    Args:
        model: on the device of the batches.
        view: of the model.
        loss: gives the mean loss of a batch.
        batches: one for each step, or more.
        how: steps, rate and penalty.
    """
    classifier = [parameter for _, parameter in view.classifier_parameters()]
    untouched = [parameter.detach().clone() for parameter in classifier]
    was_training = model.training
    model.train()
    try:
        with torch.enable_grad(), torch.random.fork_rng(), without_gradients(model):
            torch.manual_seed(seed_of(Stream.HEAD_SCALES, how.seed))
            # Drawn on the CPU, so that a seed means the same on every device.
            drawn = how.std * torch.randn(view.num_layers, view.num_heads * view.head_dim)
            scales = [nn.Parameter(row.to(classifier[0].device)) for row in drawn]
            for parameter in classifier:
                parameter.requires_grad_(True)
            with _scaled(view, scales):
                _tune(scales, classifier, loss, batches, how)
    finally:
        model.train(was_training)
        with torch.no_grad():
            for parameter, value in zip(classifier, untouched, strict=True):
                parameter.copy_(value)
    tuned = torch.stack([scale.detach().to("cpu", torch.float64) for scale in scales])
    return tuned.view(view.num_layers, view.num_heads, view.head_dim).norm(dim=-1)


@contextmanager
def _scaled(view: BackboneView, scales: list[nn.Parameter]) -> Iterator[None]:
    """Let the output projections read (1 + A) y inside."""

    def hook(scale: Tensor, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Any, ...]:
        return ((inputs[0] * (1 + scale)).to(inputs[0].dtype), *inputs[1:])

    handles = [
        view.head_output(layer).register_forward_pre_hook(partial(hook, scale)) for layer, scale in enumerate(scales)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tune(
    scales: list[nn.Parameter],
    classifier: list[nn.Parameter],
    loss: Callable[[Batch], Tensor],
    batches: Iterable[Batch],
    how: ScaleTuning,
) -> None:
    parameters = [*scales, *classifier]
    optimiser = torch.optim.AdamW(parameters, lr=how.learning_rate, weight_decay=0.0)
    schedule = LambdaLR(optimiser, lambda step: 1 - step / how.steps)
    for batch in islice(batches, how.steps):
        absolute = torch.stack([scale.abs().sum() for scale in scales]).sum()
        torch.autograd.backward(loss(batch) + how.l1 * absolute)
        torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM)
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
