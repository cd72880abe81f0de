"""The comparison as a report in Weights & Biases, beside the runs that were logged there, through its own API."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import wandb
from wandb_workspaces.reports import v2 as blocks

from peftlab.errors import UserError, require
from peftlab.network import has_wandb_key, wandb_reachable
from peftlab.report import tables, writers
from peftlab.report.study import Study
from peftlab.results.aggregate import Cell, Setting
from peftlab.results.record import RunRecord
from peftlab.results.scores import Scale

TITLE = "PEFT Lab: the comparison"
INSTEAD = "the page and the tables are written all the same"
# (title, path in the record, whether it is drawn on a logarithmic axis)
COSTS = (
    ("tuned parameters", "parameters.tuned", True),
    ("delta on disk (bytes)", "delta.bytes", True),
    ("training (s)", "seconds.training", True),
    ("peak memory (bytes)", "memory.peak_bytes", False),
)
HALF, WHOLE, HEIGHT = 12, 24, 9  # W&B's grid is 24 columns wide


def publish(study: Study) -> str:
    """Save the dashboard of the study's runs in the project that they were logged to; return its address.

    It holds the comparison table, and for each setting that has such runs: the scores with seeds grouped, quality
    against each cost with its Pareto front, learning curves, and the table of all runs.

    Raises:
        UserError: no run was logged with logger=wandb, or those that were name several projects; there is no key, or
            no network; or W&B refuses.
    """
    entity, project = _place(study)
    require(has_wandb_key(), f"--wandb: there is no key of W&B (`wandb login`, or WANDB_API_KEY); {INSTEAD}")
    require(wandb_reachable(), f"--wandb: the server of W&B cannot be reached from here; {INSTEAD}")
    description = f"{len(_logged(study.cells))} runs in {len(study.settings)} settings."
    with _refusals_told():
        owner: dict[str, Any] = {"entity": entity} if entity else {}  # else that of the key
        report = blocks.Report(project=project, title=TITLE, description=description, width="fluid", **owner)
    report.blocks = _blocks(study, report.entity, project)
    with _refusals_told():  # a project that is not there, for example: all of its runs are still offline
        report.save()
    return str(report.url)


@contextmanager
def _refusals_told() -> Iterator[None]:
    try:
        yield
    except (wandb.Error, OSError, ValueError) as error:
        raise UserError(f"--wandb: W&B refuses: {' '.join(str(error).split())}; {INSTEAD}") from error


def _place(study: Study) -> tuple[str | None, str]:
    """Return entity and project of the runs that were logged to W&B."""
    loggers = [run.config["logger"] for run in _logged(study.cells)]
    places = sorted({(logger.get("entity") or "", str(logger["project"])) for logger in loggers})
    require(bool(places), f"--wandb: none of these runs was logged with logger=wandb; {INSTEAD}")
    names = ", ".join("/".join(filter(None, place)) for place in places)
    require(len(places) == 1, f"--wandb: these runs are of several projects ({names}): give folders of one; {INSTEAD}")
    entity, project = places[0]
    return entity or None, project


def _logged(cells: Iterable[Cell]) -> list[RunRecord]:
    """Return the runs that finished with logger=wandb; those written offline are shown once they are synced."""
    runs = [run for cell in cells for run in cell.finished if run.id]
    return [run for run in runs if (run.config.get("logger") or {}).get("name") == "wandb"]


def _blocks(study: Study, entity: str, project: str) -> list[Any]:
    comparison = writers.markdown(tables.performance(study))
    found: list[Any] = [blocks.TableOfContents(), blocks.H1("Comparison"), blocks.MarkdownBlock(comparison)]
    for setting in study.settings:
        cells = study.of(setting)
        if _logged(cells):
            found += [blocks.H1(setting.title), _grid(setting, cells, entity, project)]
    return found


def _grid(setting: Setting, cells: list[Cell], entity: str, project: str) -> blocks.PanelGrid:
    """Return the panels of one setting over its runs, seeds of one configuration grouped."""
    score, scale = f"metric.{cells[0].split}", cells[0].scale
    ids = sorted({str(run.id) for run in _logged(cells)})
    runs = blocks.Runset(
        entity=entity,
        project=project,
        name=setting.title,
        filters=f"SummaryMetric('id') in {ids}",
        groupby=["group"],
        order=[blocks.OrderBy(blocks.SummaryMetric(score), ascending=scale.lower_is_better)],
        pinned_columns=[f"summary:{name}" for name in (score, *(path for _, path, _ in COSTS))],
    )
    return blocks.PanelGrid(runsets=[runs], panels=[*_scores(cells[0], score), *_pareto(score, scale), _table()])


def _scores(cell: Cell, score: str) -> list[Any]:
    grouped: dict[str, Any] = {"groupby_aggfunc": "mean", "groupby_rangefunc": "stddev"}
    bars = blocks.BarPlot(
        title="Scores, mean and deviation over seeds", metrics=[blocks.SummaryMetric(score)], **grouped
    )
    curve = f"validation/{cell.metric}"
    lines = blocks.LinePlot(title=f"Learning curves, {curve}", x="trainer/global_step", y=[curve], **grouped)
    bars.layout = blocks.Layout(x=0, y=0, w=HALF, h=HEIGHT)
    lines.layout = blocks.Layout(x=HALF, y=0, w=HALF, h=HEIGHT)
    return [bars, lines]


def _pareto(score: str, scale: Scale) -> list[Any]:
    """Return quality against each cost; the best score so far along the cost is the Pareto front."""
    return [
        blocks.ScatterPlot(
            title=f"What quality costs: {title}",
            x=blocks.SummaryMetric(path),
            y=blocks.SummaryMetric(score),
            log_x=logarithmic,
            running_ymin=scale.lower_is_better,
            running_ymax=not scale.lower_is_better,
            layout=blocks.Layout(x=HALF * (place % 2), y=HEIGHT * (1 + place // 2), w=HALF, h=HEIGHT),
        )
        for place, (title, path, logarithmic) in enumerate(COSTS)
    ]


def _table() -> Any:
    return blocks.WeavePanelSummaryTable(table_name="table", layout=blocks.Layout(x=0, y=3 * HEIGHT, w=WHOLE, h=HEIGHT))
