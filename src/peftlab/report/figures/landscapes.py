"""The loss around tuned weights and along the path that led to them (Fig. 7), from each `landscape.json`."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from peftlab.errors import UserError
from peftlab.report.figures.base import Drawing, Families, Figure, grid
from peftlab.report.study import Study
from peftlab.results.aggregate import Block, Setting
from peftlab.results.found import find_files
from peftlab.results.landscapes import FILE_NAME, Landscape, RunLandscape, Surface, Trajectory
from peftlab.results.scores import percent

PATH = "#D55E00"  # stands out from every colour of the scale
LEVELS = 20
ABREAST = 2  # panels side by side


@dataclass(frozen=True)
class Panel:
    """A surface of one run, with its title."""

    title: str
    surface: Surface
    run: RunLandscape


def landscapes(study: Study, comparisons: Families = ()) -> Figure:
    """Return the contours of all runs of each landscape that lies in the study's folders."""
    drawings: list[Drawing] = []
    unread: list[str] = []
    for file in find_files(study.folders, FILE_NAME):
        try:
            landscape = Landscape.read(file)
        except UserError as error:
            unread.append(str(error))
            continue
        if landscape.finished:
            drawings += _drawings(landscape)
        else:
            unread.append(f"{file}: not finished; its command resumes it: {' '.join(landscape.command)}")
    caption = (
        "Loss over the same training examples, on one scale of colours. The plane of a path holds its first two "
        "principal axes, in the units of the weights; from the ring (before training) every point is one that "
        "training passed, the star is where the run's weights are. On the random plane 1 moves each row of a matrix "
        "by its own length (filter-normalised, Li et al. 2018), the same draw for every run. "
        "Far away a model only guesses: the nearer its own loss is to that of guessing, the flatter it looks."
    )
    missing = "no landscape.json of python -m peftlab.landscape lies below the folders"
    title = "Loss contours and trajectories (Fig. 7)"
    return Figure("landscape", title, caption, drawings, missing, order=190, unread=unread)


FIGURES = (landscapes,)


def _drawings(landscape: Landscape) -> list[Drawing]:
    seeds = sorted({run.seed for run in landscape.runs})
    setting = Setting(landscape.task, Block(landscape.backbone, landscape.shots))
    title = f"{setting.title} · {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
    called, notes = names(landscape), _notes(landscape)
    along = [
        Panel(
            f"{called[run.id]} · {percent(sum(run.trajectory.explained)):.1f} % explained", run.trajectory.surface, run
        )
        for run in landscape.runs
        if run.trajectory
    ]
    around = [
        Panel(f"{called[run.id]} · sharpness {_number(run.sharpness.mean)}", run.surface, run) for run in landscape.runs
    ]
    planes = (("plane of the path", along, "principal axis"), ("random plane", around, "random direction"))
    return [Drawing(f"{title} · {plane}", _contours(panels, axis), notes) for plane, panels, axis in planes if panels]


def names(landscape: Landscape) -> dict[str, str]:
    """Return what each run is called, by its id: strategy and seed, with the id where that is not enough."""
    plain = {run.id: f"{run.strategy}, seed {run.seed}" for run in landscape.runs}
    often = Counter(plain.values())
    return {key: name if often[name] == 1 else f"{name} ({key[:6]})" for key, name in plain.items()}


def _contours(panels: list[Panel], axis: str) -> go.Figure:
    columns = min(ABREAST, len(panels))
    lines = -(-len(panels) // columns)
    figure = grid(lines, columns, 110 + 430 * lines, [panel.title for panel in panels], horizontal_spacing=0.1)
    known = np.concatenate([np.array(panel.surface.losses, dtype=float).ravel() for panel in panels])
    low, high = float(np.nanmin(known)), float(np.nanmax(known))
    for number, panel in enumerate(panels):
        where = {"row": number // columns + 1, "col": number % columns + 1}
        found, run = panel.surface, panel.run
        figure.add_contour(
            x=found.x,
            y=found.y,
            z=found.losses,
            coloraxis="coloraxis",
            contours={"start": low, "end": high, "size": (high - low) / LEVELS or 1.0},
            line={"width": 0.6},
            hovertemplate="%{x:.3g}, %{y:.3g}: %{z:.4g}<extra></extra>",
            **where,
        )
        _add_path(figure, run, found is run.surface, where)
    figure.update_xaxes(title_text=f"first {axis}", row=lines)
    figure.update_yaxes(title_text=f"second {axis}", col=1)
    bar = {"title": {"text": "loss"}, "thickness": 12, "outlinewidth": 0}
    figure.update_layout(
        showlegend=False, coloraxis={"colorscale": "Viridis", "cmin": low, "cmax": high, "colorbar": bar}
    )
    return figure


def _add_path(figure: go.Figure, run: RunLandscape, around: bool, where: dict[str, int]) -> None:
    points = run.trajectory.waypoints if run.trajectory and not around else []
    if points:
        figure.add_scatter(
            x=[point.x for point in points],
            y=[point.y for point in points],
            customdata=[[point.step, point.loss] for point in points],
            mode="lines+markers",
            line={"color": PATH, "width": 2},
            marker={
                "symbol": ["circle-open", *["circle"] * (len(points) - 1)],
                "size": [12] + [5] * (len(points) - 1),
                "line": {"width": 2, "color": PATH},
                "color": PATH,
            },
            hovertemplate="step %{customdata[0]}: loss %{customdata[1]:.4g}<extra></extra>",
            **where,
        )
    star = {"symbol": "star", "size": 13, "color": PATH, "line": {"color": "white", "width": 1}}
    told = f"the weights: loss {_number(run.loss)}<extra></extra>"
    figure.add_scatter(x=[0], y=[0], mode="markers", marker=star, hovertemplate=told, **where)


def _notes(landscape: Landscape) -> list[str]:
    settings, called = landscape.settings, names(landscape)
    embeddings = "" if settings.embeddings else ", embeddings unmoved"
    lines = [
        f"Loss over {settings.examples} training examples, grids of {settings.points} × {settings.points}, seed "
        f"{settings.seed}. Sharpness: mean rise of the loss over {settings.directions} random filter-normalised "
        f"directions, both ways, at the relative radius {settings.sharpness_radius:g}{embeddings}; ± one standard "
        "error."
    ]
    for run in landscape.runs:
        sharp, way = run.sharpness, run.trajectory
        error = "" if sharp.error is None else f" ± {_number(sharp.error)}"
        told = f"loss {_number(run.loss)}, sharpness {_number(sharp.mean)}{error} (highest {_number(sharp.worst)})"
        lines.append(f"{called[run.id]}: {told}{_path_in_words(way) if way else _without_path(run)}.")
    return lines


def _without_path(run: RunLandscape) -> str:
    return "; it kept no path" if run.place is None else f"; taken after {run.place.step:.1f} steps, where losses match"


def _path_in_words(way: Trajectory) -> str:
    first, second = way.explained
    pairs = [(point.loss, point.plane_loss) for point in way.waypoints]
    gaps = [abs(passed - seen) for passed, seen in pairs if passed is not None and seen is not None]
    largest = f"{max(gaps):.3g}" if gaps else "–"
    return (
        f"; the plane of its path explains {percent(first):.1f} % + {percent(second):.1f} % of the variance of "
        f"{len(way.waypoints)} points, whose own loss is at most {largest} from that of the plane"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
