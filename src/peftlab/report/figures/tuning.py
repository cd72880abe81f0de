"""Tuning curves: how good the best of so many trials of a search is, with a band."""

import math

import plotly.graph_objects as go

from peftlab.report.figures.base import INK, Drawing, Families, Figure, faded, grid, text
from peftlab.report.study import Study
from peftlab.report.tuning import RUNS, searches
from peftlab.results.tuning_curves import TuningCurves

COLUMNS = 3  # panels in a row
OTHERS = "#8C8C8C"
PANEL = 210  # pixels: the height of a panel


def tuning(study: Study, comparisons: Families = ()) -> Figure:
    """Return the curves of each search, a panel a strategy, the others' curves in grey behind its band."""
    found = searches(study)
    drawings = [Drawing(of.block.title, _panels(of.curves), of.notes) for of in found if of.curves]
    caption = (
        "Median score of the best of so many trials of a search, with its band; the others are thin and grey. All "
        "bands of a drawing hold together in 95 % of searches, however scores are distributed. A triangle: there the "
        "band reaches the metric's bound, the trials set no limit. A trial's score is its mean over tasks and seeds "
        "on held-out examples, collapsed runs among them."
    )
    unread = [f"Tuning curves of {of.block.title}: {of.reason}." for of in found if not of.curves]
    return Figure("tuning", "Tuning curves", caption, drawings, f"there are no {RUNS}", order=125, unread=unread)


FIGURES = (tuning,)


def _panels(curves: TuningCurves) -> go.Figure:
    rows = math.ceil(len(curves.curves) / COLUMNS)
    figure = grid(
        rows,
        min(COLUMNS, len(curves.curves)),
        height=110 + PANEL * rows,
        titles=list(curves.curves),
        shared_xaxes="all",
        shared_yaxes="all",
        horizontal_spacing=0.03,
        vertical_spacing=0.25 / rows,
    )
    low, high = _shown(curves)
    for place, label in enumerate(curves.curves):
        where = {"row": place // COLUMNS + 1, "col": place % COLUMNS + 1}
        others = [other for other in curves.curves if other != label]
        _curves(figure, curves, others, {"color": OTHERS, "width": 0.8}, where)
        _band(figure, curves, label, (low, high), where)
        _curves(figure, curves, [label], {"color": INK, "width": 2.4}, where)
    figure.update_yaxes(range=[low, high])
    figure.update_xaxes(range=[0.8, curves.most + 0.2], dtick=1 if curves.most <= 12 else None, showticklabels=True)
    figure.update_xaxes(title_text="trials", row=rows)
    figure.update_yaxes(title_text=text(f"{curves.scale.short_name}, validation{curves.scale.remark}"), col=1)
    return figure


def _limit(curves: TuningCurves, place: int) -> str:
    bound = curves.bounds[place]
    return f"no limit before the metric's {bound:g}" if math.isfinite(bound) else "no limit"


def _shown(curves: TuningCurves) -> tuple[float, float]:
    """Return the ends of the axis: those of the curves with some room, since a band may reach as far as the metric."""
    medians = [best.median for curve in curves.curves.values() for best in curve]
    known = [
        end
        for curve in curves.curves.values()
        for best in curve
        for end in (best.low, best.high)
        if end not in curves.bounds
    ]
    low, high = min(medians + known), max(medians + known)
    room = 0.15 * (high - low) or 1.0
    return low - room, high + room


def _curves(
    figure: go.Figure, curves: TuningCurves, labels: list[str], line: dict[str, object], where: dict[str, int]
) -> None:
    """Draw curves as one trace with gaps between them: a trace each in each panel would make the page large."""
    gap = (None, None, "")
    points = [
        point
        for label in labels
        for point in [
            *((of.trials, of.median, f"{label}: {curves.text(label, of.trials)}") for of in curves.curves[label]),
            gap,
        ]
    ]
    figure.add_scatter(
        x=[x for x, _, _ in points],
        y=[y for _, y, _ in points],
        customdata=[text(told) for _, _, told in points],
        line=line,
        mode="lines",
        showlegend=False,
        hovertemplate="best of %{x}<br>%{customdata}<extra></extra>",
        **where,
    )


def _band(
    figure: go.Figure, curves: TuningCurves, label: str, axis: tuple[float, float], where: dict[str, int]
) -> None:
    """Draw the band, as far as the axis shows it, and a triangle at its edge where an end is the metric's bound."""
    curve = curves.curves[label]
    ends = [sorted((best.low, best.high)) for best in curve]
    shown = [[min(max(end, axis[0]), axis[1]) for end in of] for of in ends]
    there = [best.trials for best in curve]
    figure.add_scatter(
        x=[*there, *reversed(there)],
        y=[*(low for low, _ in shown), *(high for _, high in reversed(shown))],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=faded(INK, 0.25),
        hoverinfo="skip",
        showlegend=False,
        **where,
    )
    for place, symbol in enumerate(("triangle-down", "triangle-up")):
        bounded = [trials for trials, of in zip(there, ends, strict=True) if of[place] == curves.bounds[place]]
        figure.add_scatter(
            x=bounded,
            y=[axis[place]] * len(bounded),
            mode="markers",
            marker={"symbol": symbol, "color": INK, "size": 8},
            cliponaxis=False,
            showlegend=False,
            hovertemplate=f"best of %{{x}}: {_limit(curves, place)}<extra></extra>",
            **where,
        )
