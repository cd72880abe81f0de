"""What makes a finished run's score doubtful, though nothing failed: found in the facts that its record holds."""

import math
from collections.abc import Mapping, Sequence

from peftlab.results.record import Doubt

# Two orders of magnitude above the loss before the first step: no step size that learns anything goes there.
DIVERGED = 100.0
# A loss that begins near zero has no order of magnitude: below this one, it is compared with this one.
_SMALLEST = 1.0
# One example in a hundred moves an accuracy by a point.
_SHARE = 0.01


def diverged(first: float | None, losses: Sequence[float | None]) -> dict[Doubt, str]:
    """Return a doubt if an epoch's mean training loss is `DIVERGED` times the loss before the first step.

    Args:
        first: the loss of the first batch.
        losses: the mean training loss of each epoch.
    """
    known = [loss for loss in losses if loss is not None]
    if first is None or not known or max(known) < DIVERGED * max(first, _SMALLEST):
        return {}
    return {"diverged": f"the training loss rose from {first:.3g} to {max(known):.3g}"}


def doubtful_data(
    examples: Mapping[str, int], overlap: Mapping[str, int], empty: Mapping[str, int]
) -> dict[Doubt, str]:
    """Return doubts about the data, each of which concerns one example in a hundred, or more.

    Args:
        examples: the size of each split.
        overlap: how many examples of an evaluated split have the texts of a training example.
        empty: how many examples of a split hold no text at all.
    """
    found: dict[Doubt, str] = {}
    if shared := _shares(overlap, examples):
        found["overlap"] = f"texts of the training set are evaluated on ({shared})"
    if blank := _shares(empty, examples):
        found["empty"] = f"examples hold no text ({blank})"
    return found


def undefined(metrics: Mapping[str, float]) -> dict[Doubt, str]:
    """Return a doubt if a metric, keyed ``split/metric``, is not a number: the gold answers leave it undefined."""
    names = [name for name, value in metrics.items() if math.isnan(value)]
    return {"undefined": f"{', '.join(names)}: undefined for these gold answers"} if names else {}


def _shares(counts: Mapping[str, int], examples: Mapping[str, int]) -> str:
    shown = {name: number for name, number in counts.items() if number >= max(1, _SHARE * examples[name])}
    return ", ".join(f"{name}: {number} of {examples[name]}" for name, number in shown.items())
