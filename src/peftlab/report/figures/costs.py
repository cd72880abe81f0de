"""Quality against what it costs: tuned parameters, bytes, seconds and memory, with the Pareto front of each."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

import plotly.graph_objects as go

from peftlab.report.figures.base import Figure, Variant, grid, look, score_axis, text
from peftlab.report.study import Block, Cell, Method, Setting, Study
from peftlab.results.record import RunRecord

# The classifier, which all methods train alike, is added: a method that tunes nothing else has a place on a log axis.
COSTS: dict[str, Callable[[RunRecord], float | None]] = {
    "trained parameters, classifier included": lambda run: (
        run.parameters.tuned + run.parameters.classifier if run.parameters else None
    ),
    "delta on disk (MB)": lambda run: run.delta.bytes / 1e6 if run.delta else None,
    "training (s)": lambda run: run.seconds.training,
    "peak memory (MB)": lambda run: (run.memory.peak_bytes or 0) / 1e6 or None if run.memory else None,
}


@dataclass(frozen=True)
class Point:
    """A method's mean score in percent and its mean cost in the order of `COSTS`."""

    method: Method
    score: float
    costs: list[float | None]


def pareto(study: Study) -> Figure:
    """Return quality against each cost, for each block's average (where methods have all tasks) and each setting."""
    places: list[Block | Setting] = [block for block in study.blocks if len(study.tasks(block)) > 1]
    variants = []
    for place in [*places, *study.settings]:
        points = points_of(study, place)
        if len(points) > 1:
            label = f"average · {place.title}" if isinstance(place, Block) else place.title
            cell = study.of(place)[0]
            title = "mean score over tasks × 100" if isinstance(place, Block) else score_axis(cell)
            variants.append(Variant(label, _draw(study, points, title), _machines(study.of(place))))
    caption = (
        "Means over seeds; the line joins the methods that nothing beats in both score and cost (the Pareto front). "
        "Score goes up, cost to the right; parameters, bytes and seconds on logarithmic axes."
    )
    return Figure("pareto", "What quality costs", caption, variants, "no setting has two methods with a score")


def points_of(study: Study, place: Block | Setting) -> list[Point]:
    """Return a point for each method with a score in the setting, or on every task of the block."""
    tasks = study.tasks(place) if isinstance(place, Block) else [place.task]
    by_method: dict[Method, list[Cell]] = {}
    for cell in study.of(place):
        if cell.scores:
            by_method.setdefault(cell.method, []).append(cell)
    return [
        Point(
            method,
            statistics.fmean(cell.mean or 0.0 for cell in cells),
            [_mean([cost(run) for cell in cells for run in cell.finished]) for cost in COSTS.values()],
        )
        for method, cells in by_method.items()
        if len(cells) == len(tasks)
    ]


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return those (cost, score) that no other matches or beats in both, by rising cost."""
    best: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or score > best[-1][1]:
            best.append((cost, score))
    return best


def _draw(study: Study, points: list[Point], score_title: str) -> go.Figure:
    figure = grid(2, 2, height=660, vertical_spacing=0.14, horizontal_spacing=0.08, shared_yaxes=True)
    for place, name in enumerate(COSTS):
        where = {"row": place // 2 + 1, "col": place % 2 + 1}
        known = [(point, cost) for point in points if (cost := point.costs[place]) is not None]
        on_front = front([(cost, point.score) for point, cost in known])
        figure.add_scatter(
            x=[cost for cost, _ in on_front],
            y=[score for _, score in on_front],
            mode="lines",
            line={"color": "#8C8C8C", "width": 1.5, "shape": "hv", "dash": "dot"},
            hoverinfo="skip",
            name="Pareto front",
            legendgroup="front",
            showlegend=place == 0,
            **where,
        )
        for point, cost in known:
            style = look(study, point.method)
            figure.add_scatter(
                x=[cost],
                y=[point.score],
                mode="markers",
                marker={"color": style["colour"], "symbol": style["symbol"], "size": 11},
                name=text(point.method.label),
                legendgroup=point.method.label,
                showlegend=place == 0,
                hovertemplate=f"{text(point.method.label)}<br>%{{x:,.4~g}}<br>%{{y:.2f}}<extra></extra>",
                **where,
            )
        figure.update_xaxes(title_text=name, type="linear" if "memory" in name else "log", **where)
    figure.update_yaxes(title_text=score_title, col=1)
    figure.update_layout(margin_b=110 + 20 * (len(points) // 4))
    return figure


def _machines(cells: list[Cell]) -> list[str]:
    devices = sorted({run.device for cell in cells for run in cell.finished if run.device})
    several = len(devices) > 1
    return [f"Seconds and memory are from different machines: {', '.join(devices)}."] if several else []


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
