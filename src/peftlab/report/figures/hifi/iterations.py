"""How many iterations the ranking of heads took over an option that was swept through numbers (Fig. 6, right)."""

import statistics

from peftlab.report.figures.base import Drawing, Families, Figure
from peftlab.report.figures.curves import draw_sweep, sweep_label, swept_options
from peftlab.report.study import Study
from peftlab.results.aggregate import Cell


def iterations(study: Study, comparisons: Families = ()) -> Figure:
    """Return the iterations of the ranking over each swept option, everything else alike."""
    drawings = []
    for setting in study.settings:
        for (strategy, key, others), swept in swept_options(study, setting).items():
            counts = {number: found for number, cell in swept if (found := _iterations(cell))}
            if len(counts) > 1:
                label = sweep_label(strategy, key, others, setting)
                drawings.append(Drawing(label, draw_sweep(key, counts, "iterations")))
    caption = "Iterations until the ranking of heads converged, mean over layers; points, line and band as above."
    missing = "no option was swept of a method that ranks heads"
    return Figure("iterations", "Iterations of the ranking (Fig. 6)", caption, drawings, missing, order=135)


FIGURES = (iterations,)


def _iterations(cell: Cell) -> list[float]:
    found = [run.selection.get("iterations") for run in cell.finished if run.selection]
    return [statistics.fmean(layers) for layers in found if isinstance(layers, list) and layers]
