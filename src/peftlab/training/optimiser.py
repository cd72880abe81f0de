"""AdamW over the trained parameters only, with a linear warm-up and a schedule after it."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, cast

from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from peftlab.strategies.attached import ParameterGroup
from peftlab.training.lightning_internals import allow_clipping

# The factor on the learning rate after the warm-up, given the share of steps that is left: from 1 to 0.
SCHEDULES: Mapping[str, Callable[[float], float]] = {
    "linear": lambda left: left,
    "cosine": lambda left: (1 - math.cos(math.pi * left)) / 2,
    "constant": lambda left: 1.0,
}


def build_optimiser(groups: Sequence[ParameterGroup], learning_rate: float, weight_decay: float) -> AdamW:
    """Return AdamW (betas 0.9, 0.999; eps 1e-8; bias-corrected) whose groups scale `learning_rate` and decay."""
    settings = [
        {
            "params": list(group.parameters.values()),
            "lr": group.own_rate or learning_rate * group.learning_rate,
            "weight_decay": weight_decay * group.weight_decay,
            "schedule": group.schedule,
            "clip_separately": group.clip_separately,
        }
        for group in groups
    ]
    # Fused, on a CPU too: with all weights tuned the plain one takes a quarter of a step (torch 2.13, one core).
    optimiser = AdamW(settings, lr=learning_rate, weight_decay=weight_decay, fused=True)
    allow_clipping(optimiser)
    return optimiser


def build_schedule(optimiser: AdamW, steps: int, warmup_share: float, schedule: str = "linear") -> LambdaLR:
    """Return a schedule that rises linearly over the first `warmup_share` of `steps`, then goes as one of `SCHEDULES`.

    Groups with a schedule of their own begin with it at the first step, or keep their rate.
    """
    factors: dict[str, Callable[[int], float]] = {
        "run": partial(rate_factor, steps=steps, warmup=round(steps * warmup_share), schedule=schedule),
        "decay": partial(rate_factor, steps=steps, warmup=0, schedule=schedule),
        "constant": lambda step: 1.0,
    }
    return LambdaLR(optimiser, [factors[group.get("schedule", "run")] for group in optimiser.param_groups])


def rate_factor(step: int, steps: int, warmup: int, schedule: str = "linear") -> float:
    """Return the factor on the learning rate at `step`, counted from 0; the first step already moves."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return SCHEDULES[schedule](max(0.0, (steps - step) / max(1, steps - warmup)))


def clip_groups(optimiser: Optimizer) -> list[Optimizer]:
    """Return the parts of an optimiser whose gradients have one norm each, as what clipping reads of an optimiser."""
    apart = [group for group in optimiser.param_groups if group.get("clip_separately")]
    if not apart:
        return [optimiser]
    together = [group for group in optimiser.param_groups if not group.get("clip_separately")]
    parts: list[list[dict[str, Any]]] = [together, *([group] for group in apart)]
    return [cast(Optimizer, SimpleNamespace(param_groups=groups)) for groups in parts]
