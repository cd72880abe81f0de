"""Finds the figures of the page by themselves: those of this folder and those of a user's own packages."""

import importlib
import pkgutil
from collections import Counter

from peftlab.errors import require
from peftlab.registry import plugin_modules
from peftlab.report import figures
from peftlab.report.figures.base import Draw, Families, Figure
from peftlab.report.study import Study


def draw_all(study: Study, comparisons: Families) -> list[Figure]:
    """Return every figure, by its order.

    Raises:
        UserError: two figures have the same slug.
    """
    drawn = sorted((draw(study, comparisons) for draw in found_figures()), key=lambda figure: figure.order)
    often = [slug for slug, count in Counter(figure.slug for figure in drawn).items() if count > 1]
    require(not often, f"two figures have the slug {', '.join(often)}: each needs its own")
    return drawn


def found_figures() -> list[Draw]:
    """Return the functions that modules name in their `FIGURES`."""
    own = (module.name for module in pkgutil.walk_packages(figures.__path__, f"{figures.__name__}."))
    modules = [*map(importlib.import_module, own), *plugin_modules()]
    return [draw for module in modules for draw in getattr(module, "FIGURES", ())]
