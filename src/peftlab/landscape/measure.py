"""Measures the losses that a landscape still lacks, and writes its file after each row."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from peftlab.data.module import TaskData
from peftlab.landscape.directions import Direction, embedding_names, random_direction
from peftlab.landscape.matching import match_losses, rebuild_at
from peftlab.landscape.principal import PrincipalPlane, differences, principal_plane
from peftlab.landscape.sharpness import rises, summarise
from peftlab.landscape.surface import MovableWeights, axis, rows
from peftlab.landscape.tuned import FixedLoss, TunedRun
from peftlab.results.landscapes import Landscape, LandscapeOptions, Place, RunLandscape, Surface, Trajectory, Waypoint

# How far the grid of the paths' planes reaches beyond the paths, as a share of their extent.
_MARGIN = 0.25


class Spot:
    """A run, rebuilt where its weights can be moved.

    Directions 0 and 1 span the random plane; sharpness is measured along these and those that follow.
    """

    def __init__(
        self, run: TunedRun, place: Place | None, data: TaskData, settings: LandscapeOptions, device: torch.device
    ) -> None:
        backbone = run.rebuild() if place is None else rebuild_at(run, place)
        torch.nn.Module.to(backbone.model, device)
        self.movable = MovableWeights(backbone.model)
        self.loss = FixedLoss(backbone, data, settings.examples, settings.seed)
        self._run, self._seed = run, settings.seed
        self._fixed = [] if settings.embeddings else embedding_names(backbone.model)

    def direction(self, number: int) -> Direction:
        """Return a random direction, filter-normalised at the run's weights."""
        return random_direction(self.movable.weights, self._seed, number, self._fixed)

    def path(self) -> tuple[dict[str, torch.Tensor], PrincipalPlane]:
        """Return where the run's path lies, seen from its weights, and the plane that holds most of it."""
        device = next(iter(self.movable.weights.values())).device
        centre = {name: weight.cpu() for name, weight in self.movable.weights.items()}
        moved = {name: found.to(device) for name, found in differences(self._run.way(), centre).items()}
        return moved, principal_plane(moved)

    def follow(self) -> Trajectory:
        """Return the run's path on its plane, with the losses that it passed and those of the plane there."""
        moved, plane = self.path()
        points = zip(self._run.steps, plane.coordinates, plane.distances, strict=True)
        waypoints = []
        for number, (step, (x, y), distance) in enumerate(points):
            self.movable.at((1.0, {name: found[number] for name, found in moved.items()}))
            passed = self.loss()
            self.movable.at((x, plane.axes[0]), (y, plane.axes[1]))
            waypoints.append(Waypoint(step, x, y, distance, passed, self.loss()))
        self.movable.home()
        return Trajectory(list(plane.explained), waypoints)


@dataclass
class Survey:
    """One landscape in the making.

    Attributes:
        landscape: what there is so far.
        folder: where it is written to.
        data: whose training examples the loss is taken over.
        device: where it is computed.
        tell: is given a line now and then.
    """

    landscape: Landscape
    folder: Path
    data: TaskData
    device: torch.device
    tell: Callable[[str], None]

    def measure(self, runs: Sequence[TunedRun]) -> None:
        """Measure what is missing; `runs` are those of the landscape, in its order.

        The planes of the paths share one grid, as large as all of them together need: they come last.
        """
        if self._settings.matched and self.landscape.runs[0].place is None:
            self._match(runs)
        for part, run in zip(self.landscape.runs, runs, strict=True):
            self._look_around(part, run)
        ways = [part.trajectory for part in self.landscape.runs if part.trajectory]
        for part, run in zip(self.landscape.runs, runs, strict=True):
            if part.trajectory is not None:
                self._look_along(part, part.trajectory, run, common_grid(ways, self._settings.points))
        self.landscape.finished = True
        self._save()

    @property
    def _settings(self) -> LandscapeOptions:
        return self.landscape.settings

    def _match(self, runs: Sequence[TunedRun]) -> None:
        """Say where on its path each run is taken."""
        places = match_losses(runs, self.data, self._settings, self.device)
        for part, place in zip(self.landscape.runs, places, strict=True):
            part.place = place
            self.tell(f"{_name(part)}: has the loss of all after {place.step:.1f} steps")
        self._save()

    def _look_around(self, part: RunLandscape, run: TunedRun) -> None:
        """Measure all that one run alone decides."""
        settings, found = self._settings, part.sharpness.rises
        steps = [] if settings.matched else run.steps
        if part.surface.whole and len(found) == settings.directions and bool(part.trajectory) == bool(steps):
            return
        spot = self._spot(run, part.place)
        part.loss = at_home = spot.loss()
        self.tell(f"{_name(part)}: loss {at_home:.4f}")
        if steps and part.trajectory is None:
            part.trajectory = spot.follow()
            first, second = part.trajectory.explained
            self.tell(f"{_name(part)}: a path of {len(steps)} points; its plane holds {first + second:.1%} of it")
            self._save()
        missing = range(len(found), settings.directions)
        for pair in rises(spot.movable, spot.loss, spot.direction, missing, settings.sharpness_radius, at_home):
            found.append([*pair])
            self._save()
        part.sharpness = summarise(found)
        if part.sharpness.mean is not None:
            self.tell(f"{_name(part)}: sharpness {part.sharpness.mean:.4f}")
        self._fill(part.surface, spot, lambda: (spot.direction(0), spot.direction(1)), f"{_name(part)}, random plane")

    def _look_along(self, part: RunLandscape, way: Trajectory, run: TunedRun, grid: Surface) -> None:
        """Measure the plane of a run's path."""
        if (way.surface.x, way.surface.y) != (grid.x, grid.y):
            way.surface = grid
        if not way.surface.whole:
            spot = self._spot(run, None)
            self._fill(way.surface, spot, lambda: spot.path()[1].axes, f"{_name(part)}, plane of its path")

    def _fill(self, surface: Surface, spot: Spot, plane: Callable[[], tuple[Direction, Direction]], what: str) -> None:
        """Measure the missing rows of a surface."""
        done, since = len(surface.losses), time.monotonic()
        left = surface.y[done:]
        for count, row in enumerate(rows(spot.movable, spot.loss, plane(), surface.x, left) if left else (), start=1):
            surface.losses.append([*row])
            self._save()
            minutes = (time.monotonic() - since) / count * (len(left) - count) / 60
            self.tell(f"{what}: row {done + count} of {len(surface.y)}, about {minutes:.1f} minutes left")

    def _spot(self, run: TunedRun, place: Place | None) -> Spot:
        return Spot(run, place, self.data, self._settings, self.device)

    def _save(self) -> None:
        self.landscape.write(self.folder)


def common_grid(ways: Sequence[Trajectory], points: int) -> Surface:
    """Return a grid without losses that holds all paths and the weights they led to, with room on each side."""
    places = [(0.0, 0.0), *((point.x, point.y) for way in ways for point in way.waypoints)]
    longest = max(max(column) - min(column) for column in zip(*places, strict=True))
    room = _MARGIN * longest
    x, y = (axis(min(column) - room, max(column) + room, points) for column in zip(*places, strict=True))
    return Surface(x, y)


def _name(part: RunLandscape) -> str:
    return f"{part.strategy} seed {part.seed}"
