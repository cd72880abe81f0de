"""Surfaces and sharpness of a loss that is known in closed form: half the sum of h w^2."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from peftlab.landscape.directions import random_direction
from peftlab.landscape.sharpness import rises, summarise
from peftlab.landscape.surface import MovableWeights, axis, rows


class Quadratic(nn.Module):
    """Weights with the loss h/2 |w - minimum|^2, in float64."""

    def __init__(self, curvature: float, minimum: float = 0.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.matrix = nn.Parameter(torch.randn(4, 3, generator=generator, dtype=torch.float64))
        self.bias = nn.Parameter(torch.randn(4, generator=generator, dtype=torch.float64))
        self.curvature, self.minimum = curvature, minimum

    def loss(self) -> float:
        parts = [(parameter.detach() - self.minimum).square().sum() for parameter in self.parameters()]
        return float(self.curvature / 2 * sum(parts))


def test_the_grid_of_losses_is_the_closed_form():
    model = Quadratic(curvature=1.5, minimum=0.2)
    movable = MovableWeights(model)
    first, second = (random_direction(movable.weights, 0, number) for number in (0, 1))
    x, y = axis(-1, 1, 5), axis(-0.5, 2, 3)
    found = list(rows(movable, model.loss, (first, second), x, y))
    centre, a, b = model.matrix.detach() - 0.2, first["matrix"], second["matrix"]
    bias = float((model.bias.detach() - 0.2).square().sum())
    for j, up in enumerate(y):
        for i, right in enumerate(x):
            # |c + xa + yb|^2, multiplied out
            square = centre.square().sum() + right**2 * a.square().sum() + up**2 * b.square().sum()
            square += 2 * (right * (centre * a).sum() + up * (centre * b).sum() + right * up * (a * b).sum())
            assert found[j][i] == pytest.approx(1.5 / 2 * (float(square) + bias), rel=1e-12)


def test_an_odd_grid_holds_the_weights_themselves():
    model = Quadratic(curvature=2.0)
    movable = MovableWeights(model)
    at_home = model.loss()
    plane = (random_direction(movable.weights, 0, 0), random_direction(movable.weights, 0, 1))
    line = axis(-0.3, 0.3, 7)
    assert line == pytest.approx([-0.3, -0.2, -0.1, 0, 0.1, 0.2, 0.3])
    assert line[3] == 0
    assert list(rows(movable, model.loss, plane, line, line))[3][3] == at_home


def test_weights_come_back_bit_for_bit_and_what_is_not_named_never_moves():
    model = Quadratic(curvature=1.0)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    movable = MovableWeights(model)
    movable.at((0.7, random_direction(movable.weights, 0, 0)), (0.1, {"bias": torch.ones(4, dtype=torch.float64)}))
    assert not torch.equal(model.matrix, before["matrix"])
    torch.testing.assert_close(model.bias.detach(), before["bias"] + 0.1)
    movable.at((0.3, random_direction(movable.weights, 0, 1)))
    assert torch.equal(model.bias, before["bias"])
    movable.home()
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def sharpness(model: Quadratic, radius: float, directions: int = 6):
    movable = MovableWeights(model)
    along = lambda number: random_direction(movable.weights, 0, number)  # noqa: E731
    return summarise(list(rises(movable, model.loss, along, range(directions), radius, model.loss())))


@pytest.mark.parametrize(("curvature", "minimum"), [(1.0, 0.0), (4.0, 0.0), (1.0, 0.7)])
@pytest.mark.parametrize("radius", [0.1, 0.5])
def test_the_sharpness_of_a_quadratic_is_exact(curvature, minimum, radius):
    model = Quadratic(curvature, minimum)
    # Filter-normalised, every direction is as long as the matrix; the slope drops out of plus and minus.
    expected = radius**2 / 2 * curvature * float(model.matrix.detach().square().sum())
    found = sharpness(model, radius)
    assert found.mean == pytest.approx(expected, rel=1e-9)
    assert found.worst == pytest.approx(max(rise for pair in found.rises for rise in pair))
    assert found.worst >= found.mean - 1e-12
    assert (len(found.rises), {len(pair) for pair in found.rises}) == (6, {2})


def test_a_sharper_loss_is_sharper_and_a_scaled_model_is_not():
    flat, sharp = (sharpness(Quadratic(curvature), 0.3).mean for curvature in (1.0, 3.0))
    assert sharp == pytest.approx(3 * flat)
    # w -> 2w with h -> h/4 is the same function; filter normalisation sees the same sharpness.
    scaled = Quadratic(0.25)
    scaled.matrix.data *= 2
    assert sharpness(scaled, 0.3).mean == pytest.approx(flat)


def test_sharpness_without_a_finite_loss_is_no_number():
    found = summarise([[0.1, math.inf], [0.2, 0.3]])
    assert (found.mean, found.worst) == (None, None)
    assert summarise([]).mean is None
    assert summarise([[0.1, None]]).mean is None


def test_the_error_is_that_of_the_mean_over_directions():
    each = np.array([0.2, 0.5, 0.35])
    found = summarise([[mean + 0.1, mean - 0.1] for mean in each])
    assert (found.mean, found.worst) == (pytest.approx(0.35), pytest.approx(0.6))
    assert found.error == pytest.approx(stats.sem(each))
    assert summarise([[0.1, 0.2]]).error is None
