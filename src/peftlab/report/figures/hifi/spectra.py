"""How the singular values of head outputs add up, and where they reach the threshold of richness (Fig. 5)."""

import math

import numpy as np
import plotly.graph_objects as go

from peftlab.report.figures.base import COLOURS, INK, Drawing, Families, Figure, faded, grid
from peftlab.report.figures.hifi.selections import Heads, selections_of
from peftlab.report.study import Study
from peftlab.results.scores import percent

COLUMNS = 3


def spectra(study: Study, comparisons: Families = ()) -> Figure:
    """Return the cumulative singular values of each method that kept them: a panel a layer, a line a head."""
    found = selections_of(study)
    drawings = [
        Drawing(f"{cell.method.label} · {cell.setting.title}", _draw(curves.mean(axis=0), heads.xi), notes(heads))
        for cell, heads in found.heads.items()
        if (curves := heads.spectrum) is not None
    ]
    caption = (
        "The share that the largest t singular values of a head's output have in their sum, mean over examples and "
        "seeds. Thin: each head; thick: their mean. Dotted: the threshold ξ of the information richness (Eq. 2)."
    )
    missing = "no selection holds the cumulative singular values of its heads"
    title = "Cumulative singular values (Fig. 5)"
    return Figure("spectra", title, caption, drawings, missing, order=180, unread=found.unread)


FIGURES = (spectra,)


def bend(curve: np.ndarray) -> int:
    """Return the t, from 1, at which a curve of shares [D'] lies furthest above the straight line from 0 to 1."""
    line = np.arange(1, len(curve) + 1) / len(curve)
    return int(np.argmax(curve - line)) + 1


def notes(heads: Heads) -> list[str]:
    """Return for each layer where the threshold is reached, and where and at which share the mean curve bends."""
    assert heads.spectrum is not None
    curves = heads.spectrum.mean(axis=(0, 2))
    counts = heads.richness.mean(axis=(0, 2))
    layers = enumerate(zip(curves, counts, strict=True), start=1)
    told = [f"layer {n}: {count:.1f}, {bend(c)} ({percent(c[bend(c) - 1]):.0f} %)" for n, (c, count) in layers]
    threshold = "ξ" if heads.xi is None else f"ξ = {heads.xi:g}"
    return [
        f"Of {curves.shape[-1]} values, how many reach {threshold} (mean richness), "
        f"and where the mean curve bends most (its share there): {'; '.join(told)}."
    ]


def _draw(curves: np.ndarray, xi: float | None) -> go.Figure:
    layers, heads, size = curves.shape
    rows = math.ceil(layers / COLUMNS)
    titles = [f"layer {layer + 1}" for layer in range(layers)]
    figure = grid(rows, COLUMNS, 100 + 220 * rows, titles, shared_yaxes=True, vertical_spacing=0.3 / rows)
    places = list(range(1, size + 1))
    for layer in range(layers):
        where = {"row": layer // COLUMNS + 1, "col": layer % COLUMNS + 1, "showlegend": False, "mode": "lines"}
        # One trace for all heads, with gaps between them: a trace a head would make the page several times as large.
        figure.add_scatter(
            x=[t for _ in range(heads) for t in [*places, None]],
            y=[share for curve in np.round(curves[layer], 4).tolist() for share in [*curve, None]],
            customdata=[head + 1 for head in range(heads) for _ in range(size + 1)],
            line={"color": faded(INK, 0.45), "width": 1},
            hovertemplate="head %{customdata}, t = %{x}: %{y:.3f}<extra></extra>",
            **where,
        )
        mean = np.round(curves[layer].mean(axis=0), 4)
        hover = "mean, t = %{x}: %{y:.3f}<extra></extra>"
        figure.add_scatter(x=places, y=mean, line={"color": INK, "width": 2.6}, hovertemplate=hover, **where)
        if xi is not None:
            dotted = {"color": COLOURS[1], "width": 1.4, "dash": "dot"}
            figure.add_scatter(x=[1, size], y=[xi, xi], line=dotted, hoverinfo="skip", **where)
    figure.update_xaxes(title_text="t, largest singular values", row=rows)
    figure.update_yaxes(title_text="share of the sum", col=1)
    figure.update_yaxes(range=[0, 1.02])
    return figure
