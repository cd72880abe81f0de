"""The one HTML page: everything inlined, nothing fetched, everything from data escaped."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import plotly.io
from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from peftlab.errors import shown
from peftlab.report import provenance
from peftlab.report.answers import Questions
from peftlab.report.comparisons import Comparison, ComparisonFamily, verdict
from peftlab.report.examples import Examples
from peftlab.report.figures.base import STATISTICS, Figure
from peftlab.report.figures.found import draw_all
from peftlab.report.inference import INTERVALS
from peftlab.report.overview import TableRow
from peftlab.report.overview import rows as overview_rows
from peftlab.report.sign_flip import COUNTED_UP_TO, EXCESS
from peftlab.report.study import Study
from peftlab.report.summary import number_of_p, sentences
from peftlab.report.tables import Table
from peftlab.results.aggregate import task_name
from peftlab.results.predictions import LONGEST_TEXT
from peftlab.results.scores import percent

SHOWN_RUNS = 2_000  # rows of the table of runs
LISTED = 300  # comparisons of a family: each row is a kilobyte of the page
NOTHING_KEPT = Examples()
STRIP = 96  # pixels: the width of a row's strip of seeds


@dataclass(frozen=True)
class Strip:
    """The seeds of one row on its setting's scale, in pixels: points with whether they collapsed, and the interval."""

    points: list[tuple[float, bool]]
    range: tuple[float, float] | None
    label: str
    low: float | str


def render(
    study: Study,
    families: list[ComparisonFamily],
    tables: list[Table],
    reference: str | None = None,
    examples: Examples = NOTHING_KEPT,
    questions: Sequence[Questions] = (),
) -> str:
    """Return the page as HTML text."""
    drawn = draw_all(study, families)
    figures = [figure for figure in drawn if figure.drawings]
    environments, sources = provenance.trace(study)
    rows = overview_rows(study)
    return _environment().get_template("page.html.j2").render(
        study=study,
        summary=sentences(study, families),
        families=families,
        reference=reference,
        examples=examples,
        questions=questions,
        rows=list(zip(rows, strips(rows), strict=True)),
        choices=[
            ("task", "task", list(dict.fromkeys(row.task for row in rows))),
            ("block", "setting", list(dict.fromkeys(row.block for row in rows))),
            ("strategy", "strategy", sorted({row.strategy for row in rows})),
        ],
        figures=figures,
        statistics=STATISTICS,
        intervals=INTERVALS,
        counted=COUNTED_UP_TO,
        excess=percent(EXCESS),
        listed=LISTED,
        shown_runs=SHOWN_RUNS,
        tables=tables,
        unequal=provenance.unequal(study),
        failures=provenance.collapsed_or_missing(sources),
        skipped=provenance.skipped(sources),
        missing=_missing(drawn, tables),
        environments=environments,
        sources=sources,
        figures_json=figures_json(figures),
        plotly=get_plotlyjs(),
        css=_own("page.css"),
        js=_own("page.js"),
    )  # fmt: skip


def figures_json(figures: list[Figure]) -> str:
    """Return the figures' data as JSON that is safe inside a script element: it holds no ``<``."""
    drawings = {
        figure.slug: [{"figure": drawing.figure, "notes": drawing.notes} for drawing in figure.drawings]
        for figure in figures
    }
    text = plotly.io.json.to_json_plotly(drawings)
    return text.replace("<", "\\u003c")


def strips(rows: list[TableRow]) -> list[Strip]:
    """Return each row's strip; rows of one setting share their scale."""
    extent: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        extent.setdefault((row.task, row.block), []).extend(row.scores)
    return [_strip(row, extent[row.task, row.block]) for row in rows]


def _strip(row: TableRow, scores_of_setting: list[float]) -> Strip:
    low, high = (min(scores_of_setting), max(scores_of_setting)) if scores_of_setting else (0.0, 1.0)

    def x(score: float) -> float:
        return round(5 + (STRIP - 10) * ((score - low) / (high - low) if high > low else 0.5), 1)

    points = [(x(score), seed in row.collapsed) for seed, score in zip(row.seeds, row.scores, strict=True)]
    told = [f"seed {seed}: {row.scale.text(score, 1)}" for seed, score in zip(row.seeds, row.scores, strict=True)]
    interval = None if row.low is None or row.high is None else (max(x(row.low), 0), min(x(row.high), STRIP))
    return Strip(points, interval, ", ".join(told), min(row.scores, default=""))


def _missing(figures: list[Figure], tables: list[Table]) -> list[str]:
    lines = [f"{figure.title}: {figure.missing}." for figure in figures if not figure.drawings]
    have = {table.name for table in tables}
    if "table1" not in have:
        lines.append("Table 1 (cost of deployment): no record holds such a measurement.")
    if "table3" not in have:
        lines.append("Table 3 (ablation): no strategy has variants that differ in an option given as a word.")
    return lines + list(dict.fromkeys(line for figure in figures for line in figure.unread))


def _environment() -> Environment:
    loader = PackageLoader("peftlab.report", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"amount": amount, "p_value": number_of_p, "verdict": verdict, "task_name": task_name}
    environment.filters |= {"most_telling": most_telling, "cut": cut, "chance": chance}
    return environment


def most_telling(comparisons: list[Comparison]) -> list[Comparison]:
    """Return the comparisons that the page lists, in their order; of too many those with the smallest p."""
    if len(comparisons) <= LISTED:
        return comparisons
    kept = set(heapq.nsmallest(LISTED, range(len(comparisons)), key=lambda place: comparisons[place].result.p or 0.0))
    return [comparison for place, comparison in enumerate(comparisons) if place in kept]


def cut(text: str) -> str:
    """Return a text of an example that has room in a cell."""
    return shown(text, LONGEST_TEXT)


def chance(probability: float) -> str:
    """Return a probability in percent: only what is certain is 0 or 100."""
    text = f"{percent(probability):.0f}"
    return {"0": "0" if probability == 0 else "< 1", "100": "100" if probability == 1 else "> 99"}.get(text, text)


def amount(value: float | None, digits: int = 0, unit: float = 1.0) -> str:
    """Return a number with thousands separated, or a dash for None."""
    return "–" if value is None else f"{value / unit:,.{digits}f}"


def _own(name: str) -> str:
    return resources.files("peftlab.report").joinpath("templates", name).read_text(encoding="utf-8")
