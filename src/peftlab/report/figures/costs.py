"""Quality against what it costs: tuned parameters, bytes, seconds and memory, with the Pareto front of each."""

from collections.abc import Callable
from dataclasses import dataclass

import plotly.graph_objects as go

from peftlab.report.figures.base import Drawing, Families, Figure, grid, hover, look, score_axis, text
from peftlab.report.study import Study
from peftlab.results.aggregate import Block, Cell, Method, Setting, mean
from peftlab.results.record import RunRecord
from peftlab.results.scores import PERCENT, Scale, common_scale

# The classifier, which all methods train alike, is added: a method that tunes nothing else has a place on a log axis.
COSTS: dict[str, Callable[[RunRecord], float | None]] = {
    "trained parameters, classifier included": lambda run: (
        run.parameters.tuned + run.parameters.classifier if run.parameters else None
    ),
    "delta on disk (MB)": lambda run: run.delta.bytes / 1e6 if run.delta else None,
    "training (s)": lambda run: run.seconds.training,
    "peak memory (MB)": lambda run: (run.memory.peak_bytes or 0) / 1e6 or None if run.memory else None,
}


LABELLED = 12  # points: so few are all named


@dataclass(frozen=True)
class Point:
    """A method's mean score and its mean cost in the order of `COSTS`."""

    method: Method
    score: float
    costs: list[float | None]


def pareto(study: Study, comparisons: Families = ()) -> Figure:
    """Return quality against each cost, for each block's average (where methods have all tasks) and each setting."""
    averages: list[Block | Setting] = [block for block in study.blocks if len(study.tasks(block)) > 1]
    drawings = []
    for where in [*averages, *study.settings]:
        points, scale = points_of(study, where), _scale(study, where)
        if len(points) > 1 and scale:
            label = f"average · {where.title}" if isinstance(where, Block) else where.title
            title = _average_axis(scale) if isinstance(where, Block) else score_axis(study.of(where)[0])
            drawings.append(Drawing(label, _draw(study, points, scale, title), _machines(study.of(where))))
    caption = (
        "Means over seeds; the line joins the methods, by name, that nothing beats in both score and cost (the Pareto "
        "front). The better score is above, cost goes to the right; parameters, bytes and seconds on logarithmic axes."
    )
    return Figure(
        "pareto", "What quality costs", caption, drawings, "no setting has two methods with a score", order=110
    )


FIGURES = (pareto,)


def points_of(study: Study, where: Block | Setting) -> list[Point]:
    """Return a point for each method with a score in the setting, or on every task of the block."""
    tasks = study.tasks(where) if isinstance(where, Block) else [where.task]
    by_method: dict[Method, list[Cell]] = {}
    for cell in study.of(where):
        if cell.scores:
            by_method.setdefault(cell.method, []).append(cell)
    return [
        Point(
            method,
            mean(cell.mean for cell in cells) or 0.0,
            [mean(cost(run) for cell in cells for run in cell.finished) for cost in COSTS.values()],
        )
        for method, cells in by_method.items()
        if len(cells) == len(tasks)
    ]


def front(points: list[tuple[float, float]], scale: Scale = PERCENT) -> list[tuple[float, float]]:
    """Return those (cost, score) that no other matches or beats in both, by rising cost."""
    best: list[tuple[float, float]] = []
    for cost, score in sorted(points, key=lambda point: (point[0], scale.order(point[1]))):
        if not best or scale.gain(score, best[-1][1]) > 0:
            best.append((cost, score))
    return best


def _scale(study: Study, where: Block | Setting) -> Scale | None:
    """Return the scale of a setting's scores, or of their mean over a block's tasks where there is one."""
    return common_scale(cell.scale for cell in study.of(where) if cell.scores)


def _average_axis(scale: Scale) -> str:
    return f"mean score over tasks{scale.factor}{scale.remark}"


def _draw(study: Study, points: list[Point], scale: Scale, score_title: str) -> go.Figure:
    figure = grid(2, 2, height=660, vertical_spacing=0.14, horizontal_spacing=0.08, shared_yaxes=True)
    for place, name in enumerate(COSTS):
        where = {"row": place // 2 + 1, "col": place % 2 + 1}
        known = [(point, cost) for point in points if (cost := point.costs[place]) is not None]
        on_front = front([(cost, point.score) for point, cost in known], scale)
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
        _add_points(figure, study, known, scale, where)
        _add_labels(figure, known, on_front, where)
        figure.update_xaxes(title_text=name, type="linear" if "memory" in name else "log", **where)
    figure.update_yaxes(title_text=score_title.replace(" (", "<br>("), col=1)  # panels are low
    if scale.lower_is_better:
        figure.update_yaxes(autorange="reversed")
    return figure


def _add_points(
    figure: go.Figure, study: Study, known: list[tuple[Point, float]], scale: Scale, where: dict[str, int]
) -> None:
    """Add the points of a panel: one trace, so that a hundred methods are no hundred traces in each of four panels."""
    styles = [look(study, point.method) for point, _ in known]
    figure.add_scatter(
        x=[cost for _, cost in known],
        y=[point.score for point, _ in known],
        customdata=[text(point.method.label) for point, _ in known],
        mode="markers",
        marker={
            "color": [style["colour"] for style in styles],
            "symbol": [style["symbol"] for style in styles],
            "size": 11,
        },
        showlegend=False,
        hovertemplate=f"%{{customdata}}<br>%{{x:,.4~g}}<br>{hover('y', scale)}<extra></extra>",
        **where,
    )


def _add_labels(
    figure: go.Figure, known: list[tuple[Point, float]], on_front: list[tuple[float, float]], where: dict[str, int]
) -> None:
    """Name the points of the front, and all of them where they are few."""
    named = [(p, cost) for p, cost in known if len(known) <= LABELLED or (cost, p.score) in on_front]
    # Above and below by turns along the cost: neighbours of a front lie close to one another.
    named.sort(key=lambda pair: pair[1])
    figure.add_scatter(
        x=[cost for _, cost in named],
        y=[point.score for point, _ in named],
        # The empty line keeps the name off its mark.
        text=[
            f"{text(point.method.label)}<br> " if place % 2 == 0 else f" <br>{text(point.method.label)}"
            for place, (point, _) in enumerate(named)
        ],
        textposition=["top center" if place % 2 == 0 else "bottom center" for place in range(len(named))],
        textfont={"size": 10},
        cliponaxis=False,
        mode="text",
        hoverinfo="skip",
        showlegend=False,
        **where,
    )


def _machines(cells: list[Cell]) -> list[str]:
    devices = sorted({run.device for cell in cells for run in cell.finished if run.device})
    several = len(devices) > 1
    return [f"Seconds and memory are from different machines: {', '.join(devices)}."] if several else []
