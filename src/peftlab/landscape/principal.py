"""The plane that holds most of a trajectory: its first two principal axes (Li et al. 2018, Sec. 7)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from peftlab.errors import require
from peftlab.landscape.directions import Direction

# Columns of one product: float64 copies stay small.
_CHUNK = 2**20


@dataclass(frozen=True)
class PrincipalPlane:
    """The plane through the tuned weights along the first two principal axes of K points of a trajectory.

    Attributes:
        axes: two orthonormal directions; one along which nothing varies is zero. The first point has no coordinate
            above 0: the sign of an axis is free, and trajectories drawn side by side should run the same way.
        explained: share of the variance along each, in [0, 1].
        coordinates: where each point falls on the plane, [K][2], the tuned weights being the origin.
        distances: how far each point is from the plane, [K].
    """

    axes: tuple[Direction, Direction]
    explained: tuple[float, float]
    coordinates: list[tuple[float, float]]
    distances: list[float]


def differences(points: Iterable[Mapping[str, Tensor]], centre: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return points - centre as one tensor [K, ...] for each name; names under which nothing differs are left out."""
    found: dict[str, list[Tensor]] = {name: [] for name in centre}
    for point in points:  # one after the other: each may be a whole model
        for name, tensor in centre.items():
            found[name].append(point[name] - tensor)
    return {name: torch.stack(rows) for name, rows in found.items() if any(row.any() for row in rows)}


def principal_plane(moved: Mapping[str, Tensor]) -> PrincipalPlane:
    """Return the plane of `differences`, by way of the K x K matrix of their inner products.

    Variance is about the mean of the points, as in the authors' code; the plane is put through the tuned weights.

    Raises:
        UserError: there are fewer than two different points.
    """
    require(bool(moved), "trajectory: its weights are all the same")
    products = _products(moved)
    count = len(products)
    centring = torch.eye(count, dtype=torch.float64) - 1 / count
    values, vectors = torch.linalg.eigh(centring @ products @ centring)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    # Columns are the weights with which the points add up to an axis: v_j = sum_i mix_ij (point_i - centre).
    noise = count * torch.finfo(torch.float32).eps * values[0]
    scale = torch.where(values > noise, values, torch.inf).rsqrt()
    mix = (centring @ vectors * scale)[:, :2]
    mix *= torch.where((products @ mix)[0] > 0, -1.0, 1.0)
    coordinates = products @ mix
    beside = (products.diagonal() - coordinates.square().sum(1)).clamp(min=0).sqrt()
    shares = (values / values.sum())[:2].tolist()
    return PrincipalPlane(
        axes=(_mixed(moved, mix[:, 0]), _mixed(moved, mix[:, 1])),
        explained=(shares[0], shares[1]),
        coordinates=[(x, y) for x, y in coordinates.tolist()],
        distances=beside.tolist(),
    )


def _products(moved: Mapping[str, Tensor]) -> Tensor:
    """Return the inner products of all pairs of points, float64 [K, K]."""
    count = len(next(iter(moved.values())))
    products = torch.zeros(count, count, dtype=torch.float64)
    for rows in moved.values():
        for part in rows.flatten(1).split(_CHUNK, dim=1):
            exact = part.double()
            products += (exact @ exact.T).cpu()
    return products


def _mixed(moved: Mapping[str, Tensor], mix: Tensor) -> Direction:
    return {name: torch.tensordot(mix.to(rows), rows, dims=1) for name, rows in moved.items()} if mix.any() else {}
