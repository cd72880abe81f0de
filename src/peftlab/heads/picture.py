"""HiFi's selection as a picture: layers × heads, what each head scored and which were chosen."""

import io
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from peftlab.files import write_bytes_atomic

CELL = 0.3  # inches: wide enough for a two-digit rank
OUTLINE = "#e4003a"  # a red that viridis does not contain


def draw(selection: Mapping[str, Any], path: Path) -> Path:
    """Draw the content of a ``selection.json`` as a PNG at `path`, written whole or not at all; return the path."""
    write_bytes_atomic(path, _png(selection))
    return path


def draw_text(selection: str, path: Path) -> Path:
    """Draw the text of a ``selection.json``; runs of a process that share a selection, as a sweep's do, share it."""
    write_bytes_atomic(path, _png_of(selection))
    return path


@lru_cache(maxsize=4)
def _png_of(text: str) -> bytes:
    return _png(json.loads(text))


def _png(selection: Mapping[str, Any]) -> bytes:
    """Return the picture.

    Four panels of L layers (first at the bottom) × H heads, both counted from 1: information richness
    (Eq. 3), degree (row sum of the correlation, Eq. 7, as a share of its layer), the score that heads were
    ranked by, and their rank (1 = best). The chosen heads are outlined in every panel, and counted beside each layer
    where the layers divide a budget.
    """
    layers, heads = selection["layers"], selection["heads"]
    options = selection["options"]
    score = options.get("score", "pagerank")
    degree = np.asarray(selection["correlation"], dtype=float).sum(axis=-1)
    total = degree.sum(axis=-1, keepdims=True)
    panels = {
        "information richness": np.asarray(selection["richness"], dtype=float),
        "degree (share of the layer)": np.divide(degree, total, out=np.zeros_like(degree), where=total > 0),
        f"ranked by: {score}": np.asarray(selection["ranking"], dtype=float),
        "rank in the layer (1 = best)": np.asarray(selection["ranks"], dtype=float),
    }
    figure = Figure(figsize=(4 * max(CELL * heads + 1.2, 3.6), CELL * layers + 1.9), layout="constrained")
    figure.suptitle(_title(selection), fontsize=13)
    counts = [len(row) for row in selection["chosen"]] if "heads_by_layer" in selection else None
    for axes, (name, values) in zip(figure.subplots(1, 4), panels.items(), strict=True):
        is_rank = name.startswith("rank in")
        _panel(figure, axes, name, values, "viridis_r" if is_rank else "viridis")
        if counts:
            labels = [f"{layer + 1}: {count}" for layer, count in enumerate(counts)]
            axes.set_yticks(range(layers), labels, fontsize=8)
            axes.set_ylabel("layer: heads")
        _outline(axes, selection["chosen"])
        if is_rank:
            _number(axes, values)
    picture = io.BytesIO()
    FigureCanvasAgg(figure).print_png(picture)
    return picture.getvalue()


def _title(selection: Mapping[str, Any]) -> str:
    names = ("k", "unit", "allocation", "budget", "variant", "score", "orientation", "teleport", "d", "xi")
    said = {name: selection["options"].get(name) for name in names}
    known = [f"{name} = {value}" for name, value in said.items() if value is not None]
    return ", ".join([*known, f"n = {selection['examples']} examples"]) + ";  outlined: the chosen heads"


def _panel(figure: Figure, axes: Axes, name: str, values: np.ndarray, colours: str) -> None:
    image = axes.imshow(values, origin="lower", aspect="auto", cmap=colours, interpolation="nearest")
    figure.colorbar(image, ax=axes, pad=0.02, fraction=0.05)
    layers, heads = values.shape
    axes.set(title=name, xlabel="head", ylabel="layer")
    axes.set_xticks(range(heads), [str(head + 1) for head in range(heads)], fontsize=8)
    axes.set_yticks(range(layers), [str(layer + 1) for layer in range(layers)], fontsize=8)
    axes.tick_params(length=0)


def _outline(axes: Axes, chosen: list[list[int]]) -> None:
    for layer, heads in enumerate(chosen):
        for head in heads:
            cell = (head - 0.45, layer - 0.45)
            axes.add_patch(Rectangle(cell, 0.9, 0.9, fill=False, edgecolor=OUTLINE, linewidth=2))


def _number(axes: Axes, ranks: np.ndarray) -> None:
    middle = ranks.max() / 2
    for (layer, head), rank in np.ndenumerate(ranks):
        colour = "black" if rank <= middle else "white"
        axes.text(head, layer, f"{rank:.0f}", ha="center", va="center", fontsize=8, color=colour)
