"""The record of a loss landscape, `landscape.json`: what `python -m peftlab.landscape` measures and the page draws.

Losses are means over the same examples, in nats (squared error for a regression); null stands for one that is no
finite number. Lists that are filled row by row hold what there is so far: the same command continues behind it.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from peftlab.errors import require
from peftlab.files import write_text_atomic
from peftlab.options.schema import from_plain, read_json, to_plain

SCHEMA = 1
FILE_NAME = "landscape.json"


@dataclass
class LandscapeOptions:
    """What all runs of one landscape share.

    `seed` draws the directions and the examples, `points` is the grid's side, `radius` half the width of the random
    plane, relative to the weights. Sharpness is measured along `directions` of length `sharpness_radius`. With
    `embeddings` false, embeddings are not moved along random directions. `matched` takes each run not at its end but
    where its path first reaches the lowest loss that all of them reach.
    """

    seed: int = 0
    points: int = 11
    radius: float = 0.5
    examples: int = 128
    directions: int = 10
    sharpness_radius: float = 0.2
    embeddings: bool = True
    matched: bool = False


@dataclass
class Surface:
    """Losses over a plane: one list for each of `y`, from the first, with a loss for each of `x`."""

    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    losses: list[list[float | None]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether there is a grid, and every row of it."""
        return bool(self.y) and len(self.losses) == len(self.y)


@dataclass
class Sharpness:
    """Rises of the loss at plus and minus each random direction, in nats; their mean and the highest.

    `error` is the standard error of the mean over directions; None for a single one.
    """

    rises: list[list[float | None]] = field(default_factory=list)
    mean: float | None = None
    worst: float | None = None
    error: float | None = None


@dataclass
class Waypoint:
    """Weights that training passed after `step` steps: where they fall on the plane, their loss and the plane's there.

    `distance` is theirs from the plane, in the units of the axes.
    """

    step: int
    x: float
    y: float
    distance: float
    loss: float | None
    plane_loss: float | None


@dataclass
class Trajectory:
    """The plane of the first two principal axes of a run's path, and the share of its variance along each."""

    explained: list[float]
    waypoints: list[Waypoint]
    surface: Surface = field(default_factory=Surface)


@dataclass
class Place:
    """Weights on a run's path: those after the step `after`, moved by `share` of the way to those after `before`."""

    after: int
    before: int
    share: float

    @property
    def step(self) -> float:
        """The steps that lead there, in fractions between two that were kept."""
        return self.after + self.share * (self.before - self.after)


@dataclass
class RunLandscape:
    """One run: the loss at its weights, around them on the random plane, and on the plane of its path if it has one.

    `place` is where on its path it was taken, where runs were matched in loss; that plane is then not drawn.
    """

    id: str
    strategy: str
    seed: int
    loss: float | None = None
    surface: Surface = field(default_factory=Surface)
    sharpness: Sharpness = field(default_factory=Sharpness)
    trajectory: Trajectory | None = None
    place: Place | None = None


@dataclass(kw_only=True)
class Landscape:
    """Runs of one task, backbone and number of shots, over the same examples, directions and grid.

    `examples_sha256` is the content of the training set that the examples are drawn from.
    """

    schema: int = SCHEMA
    finished: bool = False
    task: str
    backbone: str
    shots: int | None
    settings: LandscapeOptions
    examples_sha256: str
    runs: list[RunLandscape]
    versions: dict[str, str] = field(default_factory=dict)
    commit: str | None = None
    dirty: bool | None = None
    device: str | None = None
    started: str | None = None
    command: list[str] = field(default_factory=list)

    def write(self, folder: Path) -> Path:
        """Write `landscape.json` into `folder`, whole or not at all, and return its path."""
        path = folder / FILE_NAME
        write_text_atomic(path, json.dumps(to_plain(self), indent=1, allow_nan=False) + "\n")
        return path

    @classmethod
    def read(cls, file: Path) -> "Landscape":
        """Read a landscape; UserError, naming the file, for anything that is not a whole one of this schema."""
        return read_json(file, "landscape", _from_data)


def _from_data(data: Any) -> Landscape:
    schema = data.get("schema") if isinstance(data, dict) else None
    require(schema == SCHEMA, f"schema {schema} is not known here; allowed is {SCHEMA}")
    landscape: Landscape = from_plain(Landscape, data)
    for run in landscape.runs:
        surfaces = [run.surface, *([run.trajectory.surface] if run.trajectory else [])]
        for surface in surfaces:
            fits = len(surface.losses) <= len(surface.y) and all(len(row) == len(surface.x) for row in surface.losses)
            require(fits, f"run {run.id}: the losses are not those of its grid")
    return landscape
