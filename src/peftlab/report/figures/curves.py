"""Scores along something: epochs of training, or the values of an option that was swept (Fig. 6)."""

import statistics
from collections import defaultdict
from collections.abc import Iterable

import plotly.graph_objects as go

from peftlab.report.figures.base import INK, Figure, Variant, faded, grid, look, score_axis, text
from peftlab.report.study import Cell, Method, Setting, Study

Series = dict[float, list[float]]
Line = list[tuple[float, float]]


def learning(study: Study) -> Figure:
    """Return training loss and validation metric by epoch, for each setting."""
    variants = []
    for setting in study.settings:
        cells = [cell for cell in study.of(setting) if any(run.curve for run in cell.runs)]
        if cells:
            variants.append(Variant(setting.title, _epochs(study, cells)))
    caption = "Thick: the mean over seeds; thin: each seed. Select names in the legend to show or hide methods."
    return Figure("learning", "Learning curves", caption, variants, "no record holds a curve")


def options(study: Study) -> Figure:
    """Return the score over each option that was swept through numbers, everything else alike."""
    variants = []
    for setting in study.settings:
        for (strategy, key, others), swept in swept_options(study, setting).items():
            label = " · ".join([f"{Method(strategy).label} {key.rpartition('.')[2]}", *others, setting.title])
            variants.append(Variant(label, _sweep(key, swept)))
    caption = (
        "Every run is a point; the line is the mean over seeds, the band ± one sample standard deviation. On the "
        "right, where heads were ranked, how many iterations the ranking took (mean over layers)."
    )
    return Figure("options", "Swept options (Fig. 6)", caption, variants, "no option was swept through numbers")


def swept_options(study: Study, setting: Setting) -> dict[tuple[str, str, tuple[str, ...]], list[tuple[float, Cell]]]:
    """Return the cells along each numeric option: keyed by strategy, option and the other options they share."""
    found: dict[tuple[str, str, tuple[str, ...]], list[tuple[float, Cell]]] = defaultdict(list)
    for cell in study.of(setting):
        for key, value in cell.method.options:
            number = _number(value)
            if number is not None and cell.scores:
                rest = tuple(f"{cell.method.short(k)}={v}" for k, v in cell.method.options if k != key)
                found[cell.method.strategy, key, rest].append((number, cell))
    return {key: sorted(cells, key=lambda pair: pair[0]) for key, cells in found.items() if len(cells) > 1}


def _epochs(study: Study, cells: list[Cell]) -> go.Figure:
    figure = grid(1, 2, height=460, horizontal_spacing=0.1)
    metric = f"validation/{cells[0].metric}"
    for cell in cells:
        style = look(study, cell.method)
        for column, (key, scale) in enumerate((("train/loss", 1.0), (metric, 100.0)), start=1):
            lines = [line for run in cell.runs if (line := _line(run.curve, key, scale))]
            for line in lines if len(lines) > 1 else ():
                _add_line(figure, cell, line, column, {"color": style["colour"], "width": 0.8}, opacity=0.45)
            thick = {"color": style["colour"], "width": 2.4, "dash": style["dash"]}
            _add_line(figure, cell, _mean_line(lines), column, thick, showlegend=column == 1)
    longest = max(len(run.curve) for cell in cells for run in cell.runs)
    figure.update_xaxes(title_text="epoch", dtick=1 if longest <= 12 else None)
    figure.update_yaxes(title_text="training loss", col=1)
    figure.update_yaxes(title_text=score_axis(cells[0]).rpartition(" on ")[0] + " on validation", col=2)
    figure.update_layout(margin_b=90 + 20 * (len(cells) // 4))
    return figure


def _line(curve: list[dict[str, float | None]], key: str, scale: float) -> Line:
    """Return (epoch, value × scale) of one run, without the epochs that lack either."""
    found = [(point.get("epoch"), point.get(key)) for point in curve]
    return [(epoch, scale * value) for epoch, value in found if epoch is not None and value is not None]


def _add_line(
    figure: go.Figure,
    cell: Cell,
    line: Line,
    column: int,
    style: dict[str, object],
    opacity: float = 1.0,
    showlegend: bool = False,
) -> None:
    lone = len(line) == 1
    figure.add_scatter(
        x=[x for x, _ in line],
        y=[y for _, y in line],
        mode="markers" if lone else "lines",
        line=style,
        marker={"color": style["color"]},
        opacity=opacity,
        name=text(cell.method.label),
        legendgroup=cell.method.label,
        showlegend=showlegend,
        hovertemplate=f"{text(cell.method.label)}<br>epoch %{{x}}: %{{y:.3f}}<extra></extra>",
        row=1,
        col=column,
    )


def _mean_line(lines: Iterable[Line]) -> Line:
    values: Series = defaultdict(list)
    for line in lines:
        for x, y in line:
            values[x].append(y)
    return [(x, statistics.fmean(ys)) for x, ys in sorted(values.items())]


def _sweep(key: str, swept: list[tuple[float, Cell]]) -> go.Figure:
    scores = {number: list(cell.scores.values()) for number, cell in swept}
    iterations = {number: found for number, cell in swept if (found := _iterations(cell))}
    panels = [(scores, score_axis(swept[0][1]))] + ([(iterations, "iterations")] if len(iterations) > 1 else [])
    figure = grid(1, len(panels), height=400, horizontal_spacing=0.12)
    for column, (series, title) in enumerate(panels, start=1):
        _add_band(figure, series, column)
        figure.update_yaxes(title_text=title, col=column)
    numbers = [number for number, _ in swept]
    wide = min(numbers) > 0 and max(numbers) / min(numbers) >= 30
    figure.update_xaxes(title_text=text(key), type="log" if wide else "linear")
    figure.update_layout(showlegend=False)
    return figure


def _add_band(figure: go.Figure, series: Series, column: int) -> None:
    numbers = list(series)
    means = [statistics.fmean(values) for values in series.values()]
    spreads = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in series.values()]
    above = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
    below = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
    where = {"row": 1, "col": column}
    figure.add_scatter(
        x=numbers + numbers[::-1],
        y=above + below[::-1],
        fill="toself",
        fillcolor=faded(INK),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        **where,
    )
    figure.add_scatter(x=numbers, y=means, mode="lines+markers", line={"color": INK, "width": 2.4}, **where)
    figure.add_scatter(
        x=[number for number, values in series.items() for _ in values],
        y=[value for values in series.values() for value in values],
        mode="markers",
        marker={"symbol": "circle-open", "color": INK, "size": 8},
        hovertemplate="%{x}: %{y:.2f}<extra></extra>",
        **where,
    )


def _iterations(cell: Cell) -> list[float]:
    found = [run.selection.get("iterations") for run in cell.finished if run.selection]
    return [statistics.fmean(layers) for layers in found if isinstance(layers, list) and layers]


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
