"""Weights of equal loss on the paths of several runs, so that flatness is not read off how little a run learnt.

Near the loss of guessing a loss can rise but little, and the lower it is, the more: sharpness at the ends of runs says
how far they came. Here each run is taken where its path first reaches the lowest loss that all of them reach, on the
straight line between two points that it kept.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from peftlab.backbones.loading import Backbone
from peftlab.data.module import TaskData
from peftlab.errors import require
from peftlab.landscape.surface import MovableWeights
from peftlab.landscape.tuned import FixedLoss, TunedRun
from peftlab.results.landscapes import LandscapeOptions, Place

# How near a loss must come to that of all, as a share of its fall since the start; how often the line is halved.
TOLERANCE = 0.01
_HALVINGS = 24


def match_losses(
    runs: Sequence[TunedRun], data: TaskData, settings: LandscapeOptions, device: torch.device
) -> list[Place]:
    """Return where each run's path first reaches the lowest loss that all paths reach, within `TOLERANCE`.

    Args:
        runs: each kept its path, `checkpoint.trajectory=N`.
        data: whose training examples the loss is taken over, the same for all.
        settings: how many examples, and which.
        device: where the loss is computed.

    Raises:
        UserError: a run kept no path, or one begins below that loss.
    """
    for run in runs:
        require(bool(run.steps), f"{run.folder}: --matched needs its path; run it with checkpoint.trajectory=20, say")

    def loss_of(backbone: Backbone) -> FixedLoss:
        nn.Module.to(backbone.model, device)
        return FixedLoss(backbone, data, settings.examples, settings.seed)

    paths = [[loss_of(run.rebuild(step))() for step in run.steps] for run in runs]
    common = max(min(path) for path in paths)
    return [_first_at(run, path, common, loss_of) for run, path in zip(runs, paths, strict=True)]


def rebuild_at(run: TunedRun, place: Place) -> Backbone:
    """Return the plain model with the weights of `place`."""
    backbone, later = run.rebuild(place.after), dict(run.rebuild(place.before).model.named_parameters())
    with torch.no_grad():
        for name, weight in backbone.model.named_parameters():
            weight.lerp_(later[name], place.share)
    return backbone


def _first_at(run: TunedRun, path: Sequence[float], common: float, loss_of: Callable[[Backbone], FixedLoss]) -> Place:
    """Return where a path of these losses first comes down to `common`: by bisection of the line between two points."""
    require(path[0] > common, f"{run.folder}: before training its loss is {path[0]:.3g}, another's is never lower")
    reached = next(number for number, found in enumerate(path) if found <= common)
    after, before = run.steps[reached - 1], run.steps[reached]
    backbone = run.rebuild(after)
    loss, movable = loss_of(backbone), MovableWeights(backbone.model)
    later = dict(run.rebuild(before).model.named_parameters())
    line = {name: later[name].detach().to(weight.device) - weight for name, weight in movable.weights.items()}
    low, high, found = 0.0, 1.0, path[reached]
    for _ in range(_HALVINGS):
        if common - found <= TOLERANCE * (path[0] - common):
            break
        middle = (low + high) / 2
        movable.at((middle, line))
        if (there := loss()) <= common:
            high, found = middle, there
        else:
            low = middle
    return Place(after, before, high)
