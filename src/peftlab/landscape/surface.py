"""Moving a model's weights, and the loss where they are."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import nn

from peftlab.landscape.directions import Direction

Loss = Callable[[], float]


class MovableWeights:
    """A model whose weights can be moved away from their values at construction, and back.

    Args:
        model: is changed by `at`, and back where it was after `home`.
    """

    def __init__(self, model: nn.Module) -> None:
        self.weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        self._parameters = dict(model.named_parameters())
        self._moved: set[str] = set()

    @torch.no_grad()
    def at(self, *steps: tuple[float, Direction]) -> None:
        """Set the weights to centre + sum of far * direction; what no direction names stays at the centre."""
        names = {name for _, direction in steps for name in direction}
        for name in names | self._moved:
            moved = self.weights[name]
            for far, direction in steps:
                if name in direction and far:
                    moved = torch.add(moved, direction[name], alpha=far)
            self._parameters[name].copy_(moved)
        self._moved = names

    def home(self) -> None:
        """Bring the weights back, bit for bit."""
        self.at()


def axis(low: float, high: float, points: int) -> list[float]:
    """Return `points` equally spaced numbers from `low` to `high`; between -r and r the middle one is exactly 0."""
    last = points - 1
    return [((last - place) * low + place * high) / last for place in range(points)]


def rows(
    movable: MovableWeights, loss: Loss, plane: tuple[Direction, Direction], x: Sequence[float], y: Sequence[float]
) -> Iterator[list[float]]:
    """Yield, for each of `y`, the losses at centre + x * first + y * second for each of `x`."""
    first, second = plane
    for up in y:
        row = []
        for right in x:
            movable.at((right, first), (up, second))
            row.append(loss())
        yield row
    movable.home()
