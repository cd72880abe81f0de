"""What all figures share: colours that colour-blind readers tell apart, escaped names, and sizes.

Backgrounds, inks and grids are the page's: it knows whether it is light or dark.
"""

import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from peftlab.report.study import Cell, Method, Study
from peftlab.report.tables import METRIC_NAMES

# Okabe & Ito (2008) without its yellow and black, which vanish on a white or a dark page.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
COLLAPSED = "#D55E00"
INK = "#2D87C3"  # between light and dark: it must be read on both pages


@dataclass
class Variant:
    """One drawing of a figure, chosen by its `label`; `notes` are read below it."""

    label: str
    figure: go.Figure
    notes: list[str] = field(default_factory=list)


@dataclass
class Figure:
    """A titled figure: one of several variants is shown, or, without any, what is `missing` for it."""

    slug: str
    title: str
    caption: str
    variants: list[Variant]
    missing: str


def look(study: Study, method: Method) -> dict[str, Any]:
    """Return the colour, symbol and dash of a method, the same in every figure of the page."""
    place = study.methods.index(method)
    turn = place // len(COLOURS)
    return {
        "colour": COLOURS[place % len(COLOURS)],
        "symbol": SYMBOLS[(place + turn) % len(SYMBOLS)],
        "dash": DASHES[turn % len(DASHES)],
    }


def text(value: object) -> str:
    """Return text from data as Plotly shall print it: literally, although it understands some HTML."""
    return html.escape(str(value), quote=False)


def score_axis(cell: Cell) -> str:
    """Return the title of an axis of scores: the metric, its unit and the split."""
    return f"{text(METRIC_NAMES.get(cell.metric or '', cell.metric or 'score'))} × 100 on {cell.split}"


def canvas(height: int, **layout: Any) -> go.Figure:
    """Return an empty figure of `height` pixels, as wide as its place on the page."""
    figure = go.Figure()
    return _laid_out(figure, height, layout)


def grid(rows: int, columns: int, height: int, titles: Sequence[str] = (), **options: Any) -> go.Figure:
    """Return an empty figure of `rows` × `columns` panels; `options` are those of plotly's make_subplots."""
    figure = make_subplots(rows=rows, cols=columns, subplot_titles=[text(title) for title in titles] or None, **options)
    figure.update_annotations(font_size=12)
    return _laid_out(figure, height, {})


def faded(colour: str, opacity: float = 0.18) -> str:
    """Return a colour ``#RRGGBB`` as a see-through one, for bands."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def _laid_out(figure: go.Figure, height: int, layout: dict[str, Any]) -> go.Figure:
    # The page's own template replaces plotly's: 8 kB a figure are saved, and light and dark are one drawing.
    figure.update_layout(template="none", height=height, margin={"l": 60, "r": 20, "t": 36, "b": 48}, **layout)
    figure.update_layout(legend={"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom"})
    return figure
