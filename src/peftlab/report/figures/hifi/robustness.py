"""How little the metrics of heads depend on how they are measured: mean and band, and numbers (Fig. 3, 8-11)."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import plotly.graph_objects as go

from peftlab.report.figures.base import COLOURS, DASHES, Drawing, Families, Figure, faded, grid, text
from peftlab.report.figures.hifi.rank_agreement import HeadMetric, RankAgreement, against, between_seeds, top_count
from peftlab.report.figures.hifi.selections import Heads, selections_of
from peftlab.report.study import Study
from peftlab.results.aggregate import Cell
from peftlab.results.scores import percent

COLUMNS = 3
MISSING = "it needs a method that chose heads with two seeds, or in two variants"
HOW = (
    "Line: mean over seeds, which draw the examples; band: ± one sample standard deviation. Each variant of the method "
    "is a line, named by what it changes. The model was in evaluation mode, untouched or trained as the choice says. "
    "Below: Spearman's and Kendall's rank correlation and what both have in common, means over layers and seeds."
)

HeadsByCell = Mapping[Cell, Heads]


def richness(study: Study, comparisons: Families = ()) -> Figure:
    """Return the information richness head by head, one drawing for each state of the model."""
    title, found = "Robustness of the richness (Fig. 3)", selections_of(study)
    drawings = _drawings(study, found.heads, "richness")
    return Figure("robustness", title, HOW, drawings, MISSING, order=160, unread=found.unread)


def correlation(study: Study, comparisons: Families = ()) -> Figure:
    """Return each head's share of its layer's correlation; the numbers below compare all pairs of heads."""
    title, found = "Robustness of the correlation (Fig. 8-11)", selections_of(study)
    caption = f"A head's correlation with the others, as a share of its layer; the matrices are above. {HOW}"
    drawings = _drawings(study, found.heads, "correlation")
    return Figure("robustness-correlation", title, caption, drawings, MISSING, order=170, unread=found.unread)


FIGURES = (richness, correlation)


def standard(cells: HeadsByCell) -> Cell:
    """Return the variant that the others are changes of: the one from which they differ in the fewest options."""
    return min(cells, key=lambda cell: (sum(len(changes(o, cell)) for o in cells), cell.method.label))


def changes(cell: Cell, reference: Cell) -> list[str]:
    """Return the options in which a variant differs from `reference`, as ``name=value``."""
    given = [option for option in cell.method.options if option not in reference.method.options]
    return [f"{cell.method.short(key)}={value}" for key, value in given]


def named(cells: HeadsByCell) -> dict[str, Heads]:
    """Return the heads of each variant by what it changes; the standard first, by what the others change in it."""
    first = standard(cells)
    own = dict.fromkeys(change for cell in cells for change in changes(first, cell))
    others = {" ".join(changes(cell, first)) or cell.method.label: cells[cell] for cell in cells if cell is not first}
    return {" ".join([first.method.strategy, *own]): cells[first], **dict(sorted(others.items()))}


def _drawings(study: Study, selections: HeadsByCell, metric: HeadMetric) -> list[Drawing]:
    drawings = []
    for setting in study.settings:
        cells = {cell: heads for cell, heads in selections.items() if cell.setting == setting}
        for strategy, steps in sorted({(cell.method.strategy, heads.after_steps) for cell, heads in cells.items()}):
            state = f"after {steps} steps of full fine-tuning" if steps else "untouched model"
            alike = _alike(cells, strategy, steps)
            if any(len(heads.seeds) > 1 for heads in alike.values()) or len(alike) > 1:
                lines = named(alike)
                label = f"{strategy} · {setting.title} · {state}"
                drawings.append(Drawing(label, _draw(lines, metric), _notes(lines, metric)))
    return drawings


def _alike(cells: HeadsByCell, strategy: str, steps: int) -> HeadsByCell:
    """Return the variants of a strategy whose model was scored in the same state and has the first one's shape."""
    same = {c: h for c, h in cells.items() if (c.method.strategy, h.after_steps) == (strategy, steps)}
    shape = next(iter(same.values())).richness.shape[1:]
    return {cell: heads for cell, heads in same.items() if heads.richness.shape[1:] == shape}


def _draw(lines: Mapping[str, Heads], metric: HeadMetric) -> go.Figure:
    layers = next(iter(lines.values())).richness.shape[1]
    rows = math.ceil(layers / COLUMNS)
    titles = [f"layer {layer + 1}" for layer in range(layers)]
    figure = grid(rows, COLUMNS, 150 + 210 * rows, titles, shared_xaxes=True, vertical_spacing=0.3 / rows)
    for number, (name, heads) in enumerate(lines.items()):
        values = heads.richness if metric == "richness" else heads.degree
        mean = values.mean(axis=0)
        spread = values.std(axis=0, ddof=1) if len(heads.seeds) > 1 else np.zeros_like(mean)
        for layer in range(layers):
            where = {"row": layer // COLUMNS + 1, "col": layer % COLUMNS + 1, "showlegend": layer == 0}
            # Lines that agree lie on each other: dashes let the ones below be seen.
            style = {"color": COLOURS[number % len(COLOURS)], "width": 1.8, "dash": DASHES[number % len(DASHES)]}
            _add_line(figure, name, mean[layer], spread[layer], style, where)
    figure.update_xaxes(dtick=1)
    figure.update_xaxes(title_text="head", row=rows)
    figure.update_yaxes(title_text="richness" if metric == "richness" else "share of correlation", col=1)
    figure.update_layout(margin_b=70 + 10 * len(lines))
    return figure


def _add_line(
    figure: go.Figure, name: str, mean: np.ndarray, spread: np.ndarray, style: dict[str, Any], where: dict[str, Any]
) -> None:
    heads = [str(head + 1) for head in range(len(mean))]
    shared = {"legendgroup": name, "name": text(name), "x": heads, "mode": "lines"}
    band = {"x": heads + heads[::-1], "y": np.concatenate([mean + spread, (mean - spread)[::-1]]), "showlegend": False}
    figure.add_scatter(
        **(shared | where | band), fill="toself", fillcolor=faded(style["color"]), line={"width": 0}, hoverinfo="skip"
    )
    hover = "head %{x}: %{y:.3~g}"
    figure.add_scatter(**(shared | where), y=mean, line=style, hovertemplate=hover)


def _notes(lines: Mapping[str, Heads], metric: HeadMetric) -> list[str]:
    """Return how alike the seeds of each variant are, and each variant and the standard."""
    (standard_name, first), *others = lines.items()
    count = top_count(first, metric)
    what = f"{count} richest heads" if metric == "richness" else f"{count} strongest of {first.pairs.shape[-1]} pairs"
    compared = [
        f"{name} against the standard, seed by seed: {_told(found, what)}"
        for name, heads in others
        if (found := against(heads, first, metric))
    ]
    own = [
        f"{name}, between its {len(heads.seeds)} seeds: {_told(found, what)}"
        for name, heads in {"The standard": first, **dict(others)}.items()
        if (found := between_seeds(heads, metric))
    ]
    return [*([f"The standard: {standard_name}."] if others else []), *compared, *own]


def _told(found: RankAgreement, what: str) -> str:
    ranks = "the ranks cannot be correlated"
    if found.spearman is not None and found.kendall is not None and found.lowest is not None:
        ranks = f"Spearman {found.spearman:.3f} (lowest layer {found.lowest:.3f}), Kendall {found.kendall:.3f}"
    parts = [(found.top, f"of a layer's {what}"), (found.chosen, "of the chosen heads")]
    shared = [f"{percent(share):.0f} % {of}" for share, of in parts if share is not None]
    return f"{ranks}; in common {', '.join(shared)}." if shared else f"{ranks}."
