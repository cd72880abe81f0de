"""The plane of a trajectory: numpy's singular values say the same."""

import numpy as np
import pytest
import torch

from peftlab.errors import UserError
from peftlab.landscape import principal
from peftlab.landscape.principal import differences, principal_plane

SHAPES = {"matrix": (6, 5), "vector": (4,)}


def walk(count: int, seed: int = 0) -> list[dict[str, torch.Tensor]]:
    """Return points of a random walk that begins away from zero."""
    generator = torch.Generator().manual_seed(seed)
    steps = [{name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()} for _ in range(count)]
    return [{name: sum(step[name] for step in steps[: n + 1]) + 1 for name in SHAPES} for n in range(count)]


def flat(points: list[dict[str, torch.Tensor]]) -> np.ndarray:
    return np.array([np.concatenate([point[name].numpy().ravel() for name in SHAPES]) for point in points], dtype=float)


@pytest.mark.parametrize("count", [3, 7])
@pytest.mark.parametrize("chunk", [2, 2**20])
def test_axes_variance_and_coordinates_are_those_of_numpys_svd(count, chunk, monkeypatch):
    monkeypatch.setattr(principal, "_CHUNK", chunk)
    points = walk(count)
    found = principal_plane(differences(points, points[-1]))
    rows = flat(points)
    _, singular, axes = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    assert found.explained == pytest.approx(singular[:2] ** 2 / (singular**2).sum(), rel=1e-5)
    seen = rows - rows[-1]
    for place, axis in enumerate(found.axes):
        own = flat([axis])[0]
        assert abs(own @ axes[place]) == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose([c[place] for c in found.coordinates], seen @ own, rtol=1e-4, atol=1e-4)
    beside = seen - sum(np.outer(seen @ flat([axis])[0], flat([axis])[0]) for axis in found.axes)
    np.testing.assert_allclose(found.distances, np.linalg.norm(beside, axis=1), rtol=1e-3, atol=2e-3)


def test_the_first_point_lies_below_zero_on_both_axes():
    for seed in range(5):
        points = walk(6, seed)
        assert max(principal_plane(differences(points, points[-1])).coordinates[0]) <= 0


def test_a_straight_line_is_explained_by_one_axis_alone():
    points = walk(2)
    line = [{name: (1 - t) * points[0][name] + t * points[1][name] for name in SHAPES} for t in (0, 0.3, 0.7, 1)]
    found = principal_plane(differences(line, line[-1]))
    assert found.explained == pytest.approx((1, 0), abs=1e-9)
    assert found.axes[1] == {}
    length = np.linalg.norm(np.diff(flat(points), axis=0))
    assert [x for x, _ in found.coordinates] == pytest.approx([-length, -0.7 * length, -0.3 * length, 0], abs=1e-4)
    assert [y for _, y in found.coordinates] == pytest.approx([0] * 4, abs=1e-4)


def test_what_does_not_differ_is_no_part_of_an_axis():
    points = [{"moved": torch.tensor([float(n)]), "still": torch.ones(2)} for n in range(3)]
    assert differences(points, points[-1]).keys() == {"moved"}
    assert principal_plane(differences(points, points[-1])).axes[0].keys() == {"moved"}


def test_points_that_are_all_the_same_have_no_plane():
    points = walk(1) * 3
    with pytest.raises(UserError, match="its weights are all the same"):
        principal_plane(differences(points, points[-1]))
