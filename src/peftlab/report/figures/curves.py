"""Scores along something: epochs of training, or the values of an option that was swept (Fig. 6)."""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from itertools import combinations

import plotly.graph_objects as go

from peftlab.report.figures.base import (
    INK,
    Drawing,
    Families,
    Figure,
    canvas,
    faded,
    grid,
    hover,
    look,
    score_axis,
    text,
)
from peftlab.report.study import Study
from peftlab.results.aggregate import Cell, Setting

Series = dict[float, list[float]]
Crossed = dict[tuple[float, float], Cell]  # by the values of two options
Line = list[tuple[float | None, float | None]]  # None: a gap
DRAWN = 16  # methods of a setting whose curves can be told apart


def learning(study: Study, comparisons: Families = ()) -> Figure:
    """Return training loss and validation metric by epoch, for each setting."""
    drawings = []
    for setting in study.settings:
        cells = [cell for cell in study.of(setting) if any(run.curve for run in cell.runs)]
        if cells:
            more = len(cells) - DRAWN
            notes = [f"The {DRAWN} best methods; {more} more have curves in their records."] if more > 0 else []
            drawings.append(Drawing(setting.title, _epochs(study, cells[:DRAWN]), notes))
    caption = "Thick: the mean over seeds; thin: each seed. Select names in the legend to show or hide methods."
    return Figure("learning", "Learning curves", caption, drawings, "no record holds a curve", order=120)


def options(study: Study, comparisons: Families = ()) -> Figure:
    """Return the score over each option that was swept through numbers, everything else alike."""
    drawings = []
    for setting in study.settings:
        for (strategy, key, others), swept in swept_options(study, setting).items():
            scores = {number: list(cell.scores.values()) for number, cell in swept}
            label = sweep_label(strategy, key, others, setting)
            drawings.append(Drawing(label, draw_sweep(key, scores, score_axis(swept[0][1]))))
        for (strategy, first, second, others), crossed in crossed_options(study, setting).items():
            label = sweep_label(strategy, f"{first.rpartition('.')[2]} × {second.rpartition('.')[2]}", others, setting)
            drawings.append(Drawing(label, _heat_map(first, second, crossed)))
    caption = (
        "Every run is a point; the line is the mean over seeds, the band ± one sample standard deviation. "
        "Of two options that were swept at once a map shows the mean over seeds."
    )
    missing = "no option was swept through numbers"
    return Figure("options", "Swept options (Fig. 6)", caption, drawings, missing, order=130)


FIGURES = (learning, options)


def sweep_label(strategy: str, key: str, others: Iterable[str], setting: Setting) -> str:
    """Return the label of a sweep's drawing: its option, the other options that its runs share, and the setting."""
    return " · ".join([f"{strategy} {key.rpartition('.')[2]}", *others, setting.title])


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


def crossed_options(study: Study, setting: Setting) -> dict[tuple[str, str, str, tuple[str, ...]], Crossed]:
    """Return the cells over each two numeric options that both vary: keyed by strategy, the two, and what they share.

    Two values of each at least were tried with one value of the other.
    """
    found: dict[tuple[str, str, str, tuple[str, ...]], Crossed] = defaultdict(dict)
    for cell in study.of(setting):
        numbers = {key: number for key, value in cell.method.options if (number := _number(value)) is not None}
        for first, second in combinations(numbers, 2):
            if cell.scores:
                pair = {first, second}
                rest = tuple(f"{cell.method.short(k)}={v}" for k, v in cell.method.options if k not in pair)
                found[cell.method.strategy, first, second, rest][numbers[first], numbers[second]] = cell
    return {key: crossed for key, crossed in found.items() if _is_crossed(crossed)}


def _is_crossed(crossed: Crossed) -> bool:
    counts = [Counter(point[axis] for point in crossed) for axis in (0, 1)]
    return all(len(count) > 1 and max(count.values()) > 1 for count in counts)


def _heat_map(first: str, second: str, crossed: Crossed) -> go.Figure:
    """Return the mean score of each pair of values; a place without runs is empty."""
    columns, rows = (sorted({point[axis] for point in crossed}) for axis in (0, 1))
    means = {point: statistics.fmean(cell.scores.values()) for point, cell in crossed.items()}
    cell = next(iter(crossed.values()))
    scores = [[means.get((column, row)) for column in columns] for row in rows]
    shown = [["" if score is None else cell.scale.text(score) for score in row] for row in scores]
    figure = canvas(height=140 + 60 * len(rows))
    figure.add_heatmap(
        x=[f"{column:g}" for column in columns],
        y=[f"{row:g}" for row in rows],
        z=scores,
        text=shown,
        texttemplate="%{text}",
        colorscale="Cividis",
        reversescale=cell.scale.lower_is_better,
        colorbar={"title": {"text": score_axis(cell), "side": "right"}},
        hovertemplate=f"{text(first)} %{{x}}, {text(second)} %{{y}}: {hover('z', cell.scale)}<extra></extra>",
    )
    figure.update_xaxes(title_text=text(first), type="category")
    figure.update_yaxes(title_text=text(second), type="category")
    return figure


def _epochs(study: Study, cells: list[Cell]) -> go.Figure:
    figure = grid(1, 2, height=460, horizontal_spacing=0.1)
    metric = f"validation/{cells[0].metric}"
    for cell in cells:
        style = look(study, cell.method)
        panels: tuple[tuple[str, Callable[[float], float]], ...] = (("train/loss", float), (metric, cell.scale.score))
        for column, (key, shown) in enumerate(panels, start=1):
            lines = [line for run in cell.runs if (line := _line(run.curve, key, shown))]
            if len(lines) > 1:
                thin = {"color": style["colour"], "width": 0.8}
                _add_line(figure, cell, _one_after_the_other(lines), column, thin, opacity=0.45)
            thick = {"color": style["colour"], "width": 2.4, "dash": style["dash"]}
            _add_line(figure, cell, _mean_line(lines), column, thick, showlegend=column == 1)
    longest = max(len(run.curve) for cell in cells for run in cell.runs)
    figure.update_xaxes(title_text="epoch", dtick=1 if longest <= 12 else None)
    figure.update_yaxes(title_text="training loss", col=1)
    figure.update_yaxes(title_text=score_axis(cells[0], "validation"), col=2)
    figure.update_layout(margin_b=90 + 20 * (len(cells) // 4))
    return figure


def _line(curve: list[dict[str, float | None]], key: str, shown: Callable[[float], float]) -> Line:
    """Return (epoch, value as it is shown) of one run, without the epochs that lack either."""
    found = [(point.get("epoch"), point.get(key)) for point in curve]
    return [(epoch, shown(value)) for epoch, value in found if epoch is not None and value is not None]


def _one_after_the_other(lines: list[Line]) -> Line:
    """Return the lines of all seeds as one with gaps: a trace a seed would make the page several times as large."""
    return [point for line in lines for point in [*line, (None, None)]][:-1]


def _add_line(
    figure: go.Figure,
    cell: Cell,
    line: Line,
    column: int,
    style: dict[str, object],
    opacity: float = 1.0,
    showlegend: bool = False,
) -> None:
    lone = all(x is None for x, _ in line[1::2])  # one point, or one a seed
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
            if x is not None and y is not None:
                values[x].append(y)
    return [(x, statistics.fmean(ys)) for x, ys in sorted(values.items())]


def draw_sweep(key: str, series: Series, title: str) -> go.Figure:
    """Return the values of each run over the option `key`; `title` names their axis."""
    figure = canvas(height=400)
    _add_band(figure, series)
    wide = min(series) > 0 and max(series) / min(series) >= 30
    figure.update_yaxes(title_text=title)
    figure.update_xaxes(title_text=text(key), type="log" if wide else "linear")
    figure.update_layout(showlegend=False)
    return figure


def _add_band(figure: go.Figure, series: Series) -> None:
    numbers = list(series)
    means = [statistics.fmean(values) for values in series.values()]
    spreads = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in series.values()]
    above = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
    below = [mean - spread for mean, spread in zip(means, spreads, strict=True)]
    figure.add_scatter(
        x=numbers + numbers[::-1],
        y=above + below[::-1],
        fill="toself",
        fillcolor=faded(INK),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
    )
    figure.add_scatter(x=numbers, y=means, mode="lines+markers", line={"color": INK, "width": 2.4})
    figure.add_scatter(
        x=[number for number, values in series.items() for _ in values],
        y=[value for values in series.values() for value in values],
        mode="markers",
        marker={"symbol": "circle-open", "color": INK, "size": 8},
        hovertemplate="%{x}: %{y:.3~f}<extra></extra>",
    )


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
