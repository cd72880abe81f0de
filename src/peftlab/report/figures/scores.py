"""What each method gave: every seed a point, and who beats whom."""

import plotly.graph_objects as go

from peftlab.report.comparisons import ComparisonFamily
from peftlab.report.figures.base import COLLAPSED, INK, Drawing, Families, Figure, canvas, hover, score_axis, text
from peftlab.report.inference import INTERVALS, t_interval
from peftlab.report.study import Study
from peftlab.results.aggregate import Cell


def scores(study: Study, comparisons: Families = ()) -> Figure:
    """Return the dot plot of each setting."""
    drawings = []
    for setting in study.settings:
        cells = [cell for cell in study.of(setting) if cell.scores]
        if cells:
            drawings.append(Drawing(setting.title, _dots(cells)))
    caption = (
        "Every run is a point; the bar is the mean over seeds with its 95 % interval. Crosses are collapsed runs: one "
        f"answer to everything. They count in the mean. {INTERVALS}"
    )
    return Figure("scores", "Scores", caption, drawings, "no run has a score", order=10)


def duels(study: Study, comparisons: Families) -> Figure:
    """Return the win/tie/loss matrix of each block."""
    drawings = [Drawing(f.block.title, _matrix(f)) for f in comparisons if not f.over_tasks and f.comparisons]
    caption = (
        "Row against column: wins / ties / losses, counted over pairs of runs with the same task, data and seed. A "
        "tie: the two scores print alike. Colour: share of wins, ties counting half; blue wins, orange loses."
    )
    return Figure("duels", "Wins, ties and losses", caption, drawings, "no two methods have a run in common", order=20)


FIGURES = (scores, duels)


def _dots(cells: list[Cell]) -> go.Figure:
    cells = cells[::-1]  # the best on top
    figure = canvas(height=130 + 30 * len(cells))
    for collapsed, name in ((False, "a seed"), (True, "a collapsed seed")):
        points = [
            (score, cell.method.label, seed)
            for cell in cells
            for seed, score in cell.scores.items()
            if (seed in cell.collapsed) == collapsed
        ]
        figure.add_scatter(
            x=[score for score, _, _ in points],
            y=[text(label) for _, label, _ in points],
            customdata=[seed for _, _, seed in points],
            mode="markers",
            name=name,
            visible=True if points or not collapsed else "legendonly",
            showlegend=bool(points),
            marker={
                "color": COLLAPSED if collapsed else INK,
                "size": 9,
                "opacity": 0.75,
                "symbol": "x" if collapsed else "circle-open",
                "line": {"width": 1.5},
            },
            hovertemplate=f"%{{y}}<br>seed %{{customdata}}: {hover('x', cells[0].scale)}<extra></extra>",
        )
    figure.add_scatter(**_means(cells))
    figure.update_yaxes(
        type="category", categoryorder="array", categoryarray=[text(c.method.label) for c in cells], automargin=True
    )
    low, high = (end([score for cell in cells for score in cell.scores.values()]) for end in (min, max))
    around = 0.5 * (high - low) or 1.0  # an interval of two seeds is nine times as wide as they are apart
    figure.update_xaxes(title_text=score_axis(cells[0]), range=[low - around, high + around])
    return figure


def _means(cells: list[Cell]) -> dict[str, object]:
    means = [cell.mean or 0.0 for cell in cells]
    intervals = [t_interval([list(cell.scores.values())]) for cell in cells]
    above = [interval[1] - mean if interval else 0.0 for interval, mean in zip(intervals, means, strict=True)]
    below = [mean - interval[0] if interval else 0.0 for interval, mean in zip(intervals, means, strict=True)]
    return {
        "x": means,
        "y": [text(cell.method.label) for cell in cells],
        "mode": "markers",
        "name": "mean, 95 % interval",
        "marker": {"symbol": "line-ns-open", "size": 16, "line": {"width": 2.5}, "color": INK},
        "error_x": {"type": "data", "array": above, "arrayminus": below, "thickness": 1.5, "width": 0},
        "hovertemplate": f"%{{y}}<br>mean {hover('x', cells[0].scale)}<extra></extra>",
    }


def _matrix(family: ComparisonFamily) -> go.Figure:
    labels = list(dict.fromkeys(m.label for c in family.comparisons for m in (c.first, c.second)))
    counts = {(row, column): [0, 0, 0] for row in labels for column in labels if row != column}
    for comparison in family.comparisons:
        ours, theirs, result = comparison.first.label, comparison.second.label, comparison.result
        for place, count in enumerate((result.wins, result.ties, result.losses)):
            counts[ours, theirs][place] += count
            counts[theirs, ours][2 - place] += count
    met = {pair: count for pair, count in counts.items() if sum(count)}
    shares = [[_share(met.get((row, column))) for column in labels] for row in labels]
    words = [["/".join(map(str, met.get((row, column), ""))) for column in labels] for row in labels]
    names = [text(label) for label in labels]
    figure = canvas(height=90 + 34 * len(labels))
    figure.add_heatmap(
        x=names,
        y=names,
        z=shares,
        text=words,
        texttemplate="%{text}",
        zmin=0,
        zmax=1,
        colorscale=[[0, "#F3CF8B"], [0.5, "#F0F0EE"], [1, "#A6D5F3"]],
        showscale=False,
        textfont={"color": "#1a1a1a"},
        xgap=2,
        ygap=2,
        hovertemplate="%{y} against %{x}<br>wins/ties/losses: %{text}<extra></extra>",
    )
    figure.update_yaxes(autorange="reversed", automargin=True, showgrid=False, type="category")
    figure.update_xaxes(automargin=True, showgrid=False, type="category", side="top")
    figure.update_layout(margin={"t": 50, "b": 10})
    return figure


def _share(count: list[int] | None) -> float | None:
    return None if count is None else (count[0] + count[1] / 2) / sum(count)
