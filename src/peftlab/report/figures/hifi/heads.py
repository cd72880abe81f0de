"""What the selections beside the records hold: head maps, and the covariance of heads (Fig. 4, 8-11)."""

import math

import numpy as np
import plotly.graph_objects as go

from peftlab.report.figures.base import Drawing, Families, Figure, grid
from peftlab.report.figures.hifi.selections import Heads, selections_of
from peftlab.report.study import Study
from peftlab.results.aggregate import Cell

NONE = "no run has a selection of heads (selection.json) beside its record"


def maps(study: Study, comparisons: Families = ()) -> Figure:
    """Return layers × heads of each method that chose heads: richness, degree, rank and how often chosen."""
    found = selections_of(study)
    drawings = [Drawing(_label(cell), _map(heads), _seeds(heads)) for cell, heads in found.heads.items()]
    caption = (
        "Means over seeds. Richness: Eq. 3, singular values that hold the share ξ. Degree: a head's correlation "
        "with the others (Eq. 7) as a share of its layer. Rank 1 is the best. Chosen: share of seeds."
    )
    return Figure("heads", "Head maps", caption, drawings, NONE, order=140, unread=found.unread)


def covariance(study: Study, comparisons: Families = ()) -> Figure:
    """Return the head-to-head covariance of each layer."""
    found = selections_of(study)
    drawings = [Drawing(_label(cell), _heatmaps(heads), _seeds(heads)) for cell, heads in found.heads.items()]
    caption = (
        "Absolute covariance between the outputs of two heads (Eq. 7), mean over seeds, divided by its layer's largest."
    )
    title = "Correlation between heads (Fig. 4, 8-11)"
    return Figure("covariance", title, caption, drawings, NONE, order=150, unread=found.unread)


FIGURES = (maps, covariance)


def _map(heads: Heads) -> go.Figure:
    panels = {
        "information richness": (heads.richness.mean(axis=0), "Viridis"),
        "degree (share)": (heads.degree.mean(axis=0), "Viridis"),
        "rank": (heads.ranks.mean(axis=0), "Viridis_r"),
        "chosen (share of seeds)": (heads.chosen.mean(axis=0), "Blues"),
    }
    height = 280 + 36 * heads.richness.shape[1]
    gap = 80 / height  # for the ticks and the title between the rows
    tall = (1 - gap) / 2
    figure = grid(2, 2, height, list(panels), vertical_spacing=gap, horizontal_spacing=0.16)
    for place, (values, colours) in enumerate(panels.values()):
        row, column = place // 2, place % 2
        middle = tall / 2 if row else 1 - tall / 2
        bar = {"len": tall, "y": middle, "x": 0.425 + 0.58 * column, "thickness": 10, "outlinewidth": 0}
        _add_heatmap(figure, values, row + 1, column + 1, colorscale=colours, colorbar=bar)
    figure.update_xaxes(title_text="head", row=2)
    figure.update_yaxes(title_text="layer", col=1)
    return figure


def _heatmaps(heads: Heads) -> go.Figure:
    values = heads.correlation.mean(axis=0)
    top = values.max(axis=(1, 2), keepdims=True)
    values = np.divide(values, top, out=np.zeros_like(values), where=top > 0)
    columns = min(len(values), 3 if len(values) <= 6 else 4)
    rows = math.ceil(len(values) / columns)
    titles = [f"layer {layer + 1}" for layer in range(len(values))]
    figure = grid(rows, columns, 80 + 250 * rows, titles, vertical_spacing=0.22 / rows, horizontal_spacing=0.05)
    for layer, layer_values in enumerate(values):
        row, column = divmod(layer, columns)
        _add_heatmap(
            figure, layer_values, row + 1, column + 1, colorscale="Viridis", zmin=0, zmax=1, showscale=layer == 0
        )
    return figure


def _add_heatmap(figure: go.Figure, values: np.ndarray, row: int, column: int, **style: object) -> None:
    rows, columns = values.shape
    figure.add_heatmap(
        z=np.round(values, 5),
        x=[str(index + 1) for index in range(columns)],
        y=[str(index + 1) for index in range(rows)],
        xgap=1,
        ygap=1,
        hovertemplate="%{y}, %{x}: %{z:.3~g}<extra></extra>",
        row=row,
        col=column,
        **style,
    )
    figure.update_xaxes(showgrid=False, type="category", row=row, col=column)
    figure.update_yaxes(showgrid=False, type="category", row=row, col=column)


def _label(cell: Cell) -> str:
    return f"{cell.method.label} · {cell.setting.title}"


def _seeds(heads: Heads) -> list[str]:
    count = len(heads.seeds)
    return [f"{count} seed{'s' if count > 1 else ''}: {', '.join(map(str, heads.seeds))}."]
