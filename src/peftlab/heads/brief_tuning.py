"""The backbone as a few steps of full fine-tuning leave it: a state to take scores in (HiFi, Section 5.1)."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor, nn

from peftlab.streams import Stream, seed_of

Batch = TypeVar("Batch")
MAX_NORM = 1.0  # of the gradient, as `conf/trainer` has it


@dataclass(frozen=True)
class BriefTuning:
    """`steps` steps of AdamW over all weights at a constant `learning_rate`, without decay; `seed` draws dropout.

    No warm-up: within few steps it would hide the rate, whose mark is what is looked for.
    """

    steps: int
    learning_rate: float
    seed: int


@contextmanager
def briefly_tuned(
    model: nn.Module, loss: Callable[[Batch], Tensor], batches: Iterable[Batch], how: BriefTuning
) -> Iterator[None]:
    """Tune all weights of `model`, its classifier too, in this context; afterwards they are bit for bit as before.

    Args:
        model: its weights all require gradients.
        loss: gives the mean loss of a batch.
        batches: one for each step, or more.
        how: steps and rate.
    """
    was_training = model.training
    untouched = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    try:
        _tune(model, loss, batches, how)
        model.train(was_training)
        yield
    finally:
        model.load_state_dict(untouched)
        model.train(was_training)


def _tune(model: nn.Module, loss: Callable[[Batch], Tensor], batches: Iterable[Batch], how: BriefTuning) -> None:
    parameters = list(model.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=how.learning_rate, weight_decay=0.0, fused=True)
    model.train()
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(Stream.BRIEF_TUNING, how.seed))
        for batch in islice(batches, how.steps):
            torch.autograd.backward(loss(batch))
            torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM)
            optimiser.step()
            optimiser.zero_grad()
