"""What all figures share: colours that colour-blind readers tell apart, escaped names, and sizes.

A new figure is a file of this folder, or of a user's own package, that names its functions in `FIGURES`; each takes a
study and its comparisons, brings the data that lies beside the records itself, and returns a `Figure`. Backgrounds,
inks and grids are the page's: it knows whether it is light or dark.
"""

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from peftlab.report.comparisons import ComparisonFamily
from peftlab.report.study import Study
from peftlab.results.aggregate import Cell, Method
from peftlab.results.scores import Scale

# Okabe & Ito (2008) without its yellow and black, which vanish on a white or a dark page.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
COLLAPSED = "#D55E00"
STATISTICS = 100  # where the page's statistics stand among the figures
INK = "#2D87C3"  # between light and dark: it must be read on both pages


@dataclass
class Drawing:
    """One drawing of a figure, chosen by its `label`; `notes` are read below it."""

    label: str
    figure: go.Figure
    notes: list[str] = field(default_factory=list)


@dataclass
class Figure:
    """A titled figure: one of several drawings is shown, or, without any, what is `missing` for it.

    Figures stand on the page by their `order`, those below `STATISTICS` before its statistics. `slug` is the figure's
    own name in links. `unread` are lines about files that the figure could not read.
    """

    slug: str
    title: str
    caption: str
    drawings: list[Drawing]
    missing: str
    order: int = 1_000
    unread: list[str] = field(default_factory=list)


Families = Sequence[ComparisonFamily]
Draw = Callable[[Study, Families], Figure]


def look(study: Study, method: Method) -> dict[str, Any]:
    """Return the colour, symbol and dash of a method, the same in every figure of the page."""
    place = study.place_of(method)
    turn = place // len(COLOURS)
    return {
        "colour": COLOURS[place % len(COLOURS)],
        "symbol": SYMBOLS[(place + turn) % len(SYMBOLS)],
        "dash": DASHES[turn % len(DASHES)],
    }


def text(value: object) -> str:
    """Return text from data as Plotly shall print it: literally, although it understands some HTML."""
    return html.escape(str(value), quote=False)


def score_axis(cell: Cell, split: str | None = None) -> str:
    """Return the title of an axis of scores: the metric, its factor, the split, and whether lower is better."""
    return text(f"{cell.scale.short_name} on {split or cell.split}{cell.scale.remark}")


def hover(axis: str, scale: Scale) -> str:
    """Return how Plotly shall print a score under the pointer, read off the axis ``x`` or ``y``."""
    return f"%{{{axis}:.{scale.digits + 1}f}}"


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
