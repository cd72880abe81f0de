"""The backbone as a few steps of full fine-tuning leave it: a state to take scores in (HiFi, Section 5.1)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from peftlab.backbones.forward import batch_of, loss_of
from peftlab.backbones.loading import Backbone
from peftlab.data.tokens import TokenisedSplit

MAX_NORM = 1.0  # of the gradient, as `conf/trainer` has it


@dataclass(frozen=True)
class BriefTuning:
    """`steps` steps of AdamW over all weights at a constant `learning_rate`, without decay; `seed` draws dropout.

    No warm-up: within few steps it would hide the rate, whose mark is what is looked for.
    """

    steps: int
    learning_rate: float
    batch_size: int
    seed: int


@contextmanager
def briefly_tuned(
    backbone: Backbone, examples: TokenisedSplit, how: BriefTuning, device: torch.device
) -> Iterator[None]:
    """Tune all weights of `backbone`, its classifier too, in this context; afterwards they are bit for bit as before.

    Args:
        backbone: its model, whose weights all require gradients, lies on `device`.
        examples: labelled; batches are taken in their order, over and over.
        how: steps, rate and batches.
        device: where the passes run.
    """
    model = backbone.model
    was_training = model.training
    untouched = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    try:
        _tune(backbone, examples, how, device)
        model.train(was_training)
        yield
    finally:
        model.load_state_dict(untouched)
        model.train(was_training)


def _tune(backbone: Backbone, examples: TokenisedSplit, how: BriefTuning, device: torch.device) -> None:
    parameters = list(backbone.model.parameters())
    optimiser = torch.optim.AdamW(parameters, lr=how.learning_rate, weight_decay=0.0, fused=True)
    backbone.model.train()
    with torch.random.fork_rng():
        torch.manual_seed(how.seed)
        for first in range(0, how.steps * how.batch_size, how.batch_size):
            indices = [place % len(examples) for place in range(first, first + how.batch_size)]
            torch.autograd.backward(loss_of(backbone, batch_of(backbone, examples, indices, device)))
            torch.nn.utils.clip_grad_norm_(parameters, MAX_NORM)
            optimiser.step()
            optimiser.zero_grad()
