"""What the selections beside the records hold: head maps, covariance (Fig. 4), and robustness (Fig. 3)."""

import math
from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from peftlab.report.figures.base import COLOURS, Figure, Variant, faded, grid, text
from peftlab.report.selections import Heads, agreement, between_seeds, overlap
from peftlab.report.study import Cell, Setting, Study

Selections = Mapping[Cell, Heads]
NONE = "no run has a selection of heads (selection.json) beside its record"


def maps(selections: Selections) -> Figure:
    """Return layers × heads of each method that chose heads: richness, degree, rank and how often chosen."""
    variants = [Variant(_label(cell), _map(heads), _seeds(heads)) for cell, heads in selections.items()]
    caption = (
        "Means over seeds. Richness: Eq. 3, singular values that hold the share ξ. Degree: a head's correlation "
        "with the others (Eq. 7) as a share of its layer. Rank 1 is the best. Chosen: share of seeds."
    )
    return Figure("heads", "Head maps", caption, variants, NONE)


def covariance(selections: Selections) -> Figure:
    """Return the head-to-head covariance of each layer."""
    variants = [Variant(_label(cell), _heatmaps(heads), _seeds(heads)) for cell, heads in selections.items()]
    caption = (
        "Absolute covariance between the outputs of two heads (Eq. 7), mean over seeds, divided by its layer's largest."
    )
    return Figure("covariance", "Correlation between heads (Fig. 4)", caption, variants, NONE)


def robustness(study: Study, selections: Selections) -> Figure:
    """Return richness head by head, one line a variant of the method, with the band over seeds."""
    variants = []
    for setting in study.settings:
        for strategy in dict.fromkeys(cell.method.strategy for cell in selections if cell.setting == setting):
            family = {c: h for c, h in selections.items() if c.setting == setting and c.method.strategy == strategy}
            if any(len(heads.seeds) > 1 for heads in family.values()) or len(family) > 1:
                variants.append(_robust(setting, strategy, family))
    caption = (
        "Information richness before training, in evaluation mode. Line: mean over seeds; band: ± one sample "
        "standard deviation. Each variant of the method is a line: what was varied is its name."
    )
    missing = "it needs a method that chose heads with two seeds, or in two variants"
    return Figure("robustness", "Robustness of the richness (Fig. 3)", caption, variants, missing)


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


def _robust(setting: Setting, strategy: str, family: Selections) -> Variant:
    shape = next(iter(family.values())).richness.shape[1:]
    family = {cell: heads for cell, heads in family.items() if heads.richness.shape[1:] == shape}
    layers, count = shape
    columns = 3
    rows = math.ceil(layers / columns)
    titles = [f"layer {layer + 1}" for layer in range(layers)]
    figure = grid(rows, columns, 120 + 210 * rows, titles, shared_xaxes=True, vertical_spacing=0.3 / rows)
    names = [str(head + 1) for head in range(count)]
    for number, (cell, heads) in enumerate(family.items()):
        colour = COLOURS[number % len(COLOURS)]
        mean = heads.richness.mean(axis=0)
        spread = heads.richness.std(axis=0, ddof=1) if len(heads.seeds) > 1 else np.zeros_like(mean)
        for layer in range(layers):
            where = {"row": layer // columns + 1, "col": layer % columns + 1}
            band = np.concatenate([mean[layer] + spread[layer], (mean[layer] - spread[layer])[::-1]])
            shared = {"legendgroup": cell.method.label, "name": text(cell.method.label), **where}
            figure.add_scatter(
                x=names + names[::-1], y=band, fill="toself", fillcolor=faded(colour), mode="lines",
                line={"width": 0}, hoverinfo="skip", showlegend=False, **shared,
            )  # fmt: skip
            figure.add_scatter(
                x=names, y=mean[layer], mode="lines", line={"color": colour, "width": 1.8},
                showlegend=layer == 0, hovertemplate="head %{x}: %{y:.2f}", **shared,
            )  # fmt: skip
    figure.update_xaxes(title_text="head", row=rows)
    figure.update_yaxes(title_text="richness", col=1)
    return Variant(f"{strategy} · {setting.title}", figure, _numbers(family))


def _numbers(family: Selections) -> list[str]:
    """Return rank correlation and overlap of each variant: between its seeds, and with the first variant."""
    lines = []
    (first_cell, first), *_ = family.items()
    for cell, heads in family.items():
        name = cell.method.label
        if len(heads.seeds) > 1:
            lines.append(f"{name}, between its {len(heads.seeds)} seeds: {_told(*between_seeds(heads))}.")
        if cell is not first_cell:
            seeds = [seed for seed in heads.seeds if seed in first.seeds]
            ours, theirs = heads.richness.mean(axis=0), first.richness.mean(axis=0)
            shared = [
                overlap(heads.chosen[heads.seeds.index(seed)], first.chosen[first.seeds.index(seed)]) for seed in seeds
            ]
            known = [value for value in shared if value is not None]
            told = _told(agreement(ours, theirs), float(np.mean(known)) if known else None)
            lines.append(f"{name} against {first_cell.method.label}: {told}.")
    return lines


def _told(correlation: float | None, shared: float | None) -> str:
    rank = "the heads' ranks cannot be correlated" if correlation is None else f"rank correlation {correlation:.2f}"
    return rank + ("" if shared is None else f", {100 * shared:.0f} % of the chosen heads in common")


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
