"""A sweep as a table: runs that differ only in their seed become one row, mean ± std over seeds."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from peftlab.options.roles import flatten, role_of
from peftlab.results.deployed import deployed_grid
from peftlab.results.grid import Grid
from peftlab.results.record import Deployment, RunRecord

WIDTH = 100
NARROWEST = 70  # columns; the numbers alone need about 55
# Options that are younger than some records, with what every run did before it could choose.
LEGACY_DEFAULTS = {
    "strategy.score_after_steps": "0",
    "strategy.score_learning_rate": "2e-05",
    "training.compile": "null",
    "backbone.kernels": "true",
}

Setting = tuple[str, str, int | None]


@dataclass(frozen=True)
class Row:
    """Runs that differ only in the seed. Means are over the seeds that gave a number, None if none did.

    `mean` and `std` are in percent points; `std` is the sample standard deviation (n - 1), None for one seed.
    `share` is `tuned` in percent of all parameters. `peak_bytes` is the largest of the runs. `max_steps` is where
    training was cut short, None if it was not. `deployments` are those of the runs that measured them.
    """

    task: str
    backbone: str
    shots: int | None
    strategy: str
    options: str
    metric: str | None
    split: str
    seeds: tuple[int, ...]
    runs: int
    mean: float | None
    std: float | None
    tuned: float | None
    share: float | None
    delta_bytes: float | None
    training_seconds: float | None
    peak_bytes: int | None
    collapsed: tuple[int, ...]
    missing: tuple[str, ...]
    max_steps: int | None
    deployments: tuple[Deployment, ...]

    @property
    def title(self) -> str:
        """The strategy with the options that tell it from the other rows."""
        return f"{self.strategy} {self.options}".strip()

    @property
    def setting(self) -> Setting:
        """What scores must share to be comparable: task, backbone and shots."""
        return self.task, self.backbone, self.shots


def summarise(records: Iterable[RunRecord]) -> list[Row]:
    """Return one row for each group of runs that differ only in the seed, best mean first within a setting.

    A run that was repeated counts once: the latest that finished, else the latest.
    """
    families: dict[tuple[Setting, str], list[RunRecord]] = defaultdict(list)
    tested: set[Setting] = set()
    for record in records:
        setting = record.task, record.backbone, record.shots
        families[setting, record.strategy].append(record)
        if record.metric and record.metric.test is not None:
            tested.add(setting)
    # A few-shot run chooses its best epoch on `validation`, so only `test` is unseen: never mix the two.
    splits = {setting: "test" if setting in tested else "validation" for setting, _ in families}
    rows = [row for (setting, _), family in families.items() for row in _rows_of(family, splits[setting])]
    return sorted(rows, key=lambda r: (r.task, r.backbone, r.shots or 0, r.mean is None, -(r.mean or 0)))


def _rows_of(family: list[RunRecord], split: str) -> list[Row]:
    """Rows of the runs of one strategy in one setting: one for each configuration."""
    configs = [comparable(record.config) for record in family]
    varying = {key for config in configs for key in config if len({c.get(key) for c in configs}) > 1}
    groups: dict[str, list[RunRecord]] = defaultdict(list)
    for record, config in zip(family, configs, strict=True):
        shown = {short(key, varying): config[key] for key in sorted(varying & config.keys())}
        groups[" ".join(f"{key}={value}" for key, value in shown.items())].append(record)
    return [_row(group, options, split) for options, group in groups.items()]


def comparable(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that define the experiment, those too which an older record did not have to say."""
    return LEGACY_DEFAULTS | experiment_settings(config)


def experiment_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that define the experiment, as ``{"strategy.k": "3"}``; an empty table sets nothing."""
    kept = {name: value for name, value in flatten(config).items() if role_of(name).method != "no" and value != {}}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in kept.items()}


def short(key: str, among: set[str]) -> str:
    """Return the last part of a dotted key, or all of it where the last part alone is ambiguous."""
    last = key.rpartition(".")[2]
    return last if sum(other.rpartition(".")[2] == last for other in among) == 1 else key


def one_a_seed(group: Iterable[RunRecord]) -> list[RunRecord]:
    """Return one run of each seed, by seed: of repeated runs the latest that finished, else the latest."""
    latest: dict[int, RunRecord] = {}
    for record in sorted(group, key=lambda r: (r.status == "finished", r.started or "")):
        latest[record.seed] = record
    return [latest[seed] for seed in sorted(latest)]


def _row(group: list[RunRecord], options: str, split: str) -> Row:
    runs = one_a_seed(group)
    done = [run for run in runs if run.status == "finished"]
    metrics = [run.metric for run in done if run.metric]
    scores = {run.seed: getattr(run.metric, split) for run in done}
    points = {seed: 100 * score for seed, score in scores.items() if score is not None}
    first = runs[0]
    return Row(
        task=first.task,
        backbone=first.backbone,
        shots=first.shots,
        strategy=first.strategy,
        options=options,
        metric=metrics[0].name if metrics else None,
        split=split,
        seeds=tuple(points),
        runs=len(runs),
        mean=statistics.fmean(points.values()) if points else None,
        std=statistics.stdev(points.values()) if len(points) > 1 else None,
        tuned=_mean(run.parameters.tuned for run in done if run.parameters),
        share=_mean(100 * run.parameters.tuned / run.parameters.total for run in done if run.parameters),
        delta_bytes=_mean(run.delta.bytes for run in done if run.delta),
        training_seconds=_mean(run.seconds.training for run in done),
        peak_bytes=max((run.memory.peak_bytes or 0 for run in done if run.memory), default=None),
        collapsed=tuple(run.seed for run in done if run.collapsed),
        missing=tuple(f"seed {run.seed} {why(run)}" for run in runs if run.seed not in points),
        max_steps=_max_steps(first),
        deployments=tuple(run.deployment for run in done if run.deployment),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _max_steps(run: RunRecord) -> int | None:
    steps = run.config.get("trainer", {}).get("max_steps", -1)
    return steps if type(steps) is int and steps >= 0 else None  # -1 is Lightning's word for no end


def why(run: RunRecord) -> str:
    """Return in a few words why a run has no score."""
    if run.status == "finished":
        return f"finished, but its {run.metric.name if run.metric else 'metric'} is not a number"
    if run.status == "running":
        return "has not finished: it is still running, or was killed"
    return f"{run.status}: {run.reason or 'no reason was given'}"


def print_sweep(records: Iterable[RunRecord], console: Console | None = None) -> None:
    """Print the tables of each setting (task, backbone, shots), with notes on what failed or collapsed.

    Sets the console's width: to `WIDTH` where the output is no terminal, and to `NARROWEST` at least, so that
    nothing is ever cut off.
    """
    console = console or Console()
    console.width = max(console.width, NARROWEST) if console.is_terminal else WIDTH
    for rows in _settings(records):
        for grid in _grids(rows):
            grid.print(console)
            console.print()
        for line in _missing(rows):
            console.print(line, markup=False, highlight=False)


def sweep_in_markdown(records: Iterable[RunRecord]) -> str:
    """Return what `print_sweep` prints as Markdown."""
    parts = [[grid.to_markdown() for grid in _grids(rows)] + _missing(rows) for rows in _settings(records)]
    return "\n\n".join(part for setting in parts for part in setting) + "\n"


def _settings(records: Iterable[RunRecord]) -> list[list[Row]]:
    rows = summarise(records)
    return [[row for row in rows if row.setting == setting] for setting in dict.fromkeys(row.setting for row in rows)]


def _grids(rows: list[Row]) -> list[Grid]:
    """Return the table of scores and, where the deployed models were measured, that of their costs."""
    names = ["strategy", "options"] if any(row.options for row in rows) else ["strategy"]
    numbers = ["score", "seeds", "tuned\nweights", "tuned\n%", "delta\nMB", "train\ns", "memory\nMB"]
    cells = [[row.strategy, row.options][: len(names)] + _numbers(row) for row in rows]
    grids = [Grid(_title(rows), names + numbers, cells, _notes(rows), len(names))]
    if any(row.deployments for row in rows):
        grids.append(deployed_grid(rows))
    return grids


def _title(rows: list[Row]) -> str:
    first, measured = rows[0], next((row for row in rows if row.metric), None)
    data = "full data" if first.shots is None else f"{first.shots} examples a class"
    score = f" · {measured.metric} × 100 on {measured.split}" if measured else ""
    return f"{first.task} · {first.backbone} · {data}{score}"


def _numbers(row: Row) -> list[str]:
    score = "–" if row.mean is None else f"{row.mean:.1f} ± {'n/a' if row.std is None else f'{row.std:.1f}'}"
    return [
        score + ("*" if row.collapsed else ""),
        str(row.runs) if len(row.seeds) == row.runs else f"{len(row.seeds)} of {row.runs}",
        _number(row.tuned),
        _number(row.share, digits=2),
        _number(row.delta_bytes, digits=2, unit=1e6),
        _number(row.training_seconds),
        _number(row.peak_bytes, unit=1e6),
    ]


def _number(value: float | None, digits: int = 0, unit: float = 1) -> str:
    return "–" if value is None else f"{value / unit:,.{digits}f}"


def _notes(rows: list[Row]) -> list[str]:
    """Return the lines below a table of scores: what its numbers mean, what was cut short, what collapsed."""
    notes = [
        "Score: mean ± sample standard deviation over seeds (n/a: one seed). Tuned: without the classifier."
        " Delta: the saved file. Memory: the peak. MB: a million bytes."
    ]
    if limits := sorted({row.max_steps for row in rows if row.max_steps is not None}):
        notes.append(f"Training ended after at most {' or '.join(map(str, limits))} steps (trainer.max_steps).")
    if collapsed := [f"{row.title} with seed {', '.join(map(str, row.collapsed))}" for row in rows if row.collapsed]:
        notes.append(f"* collapsed (one answer to everything, or a Matthews of 0): {'; '.join(collapsed)}")
    return notes


def _missing(rows: list[Row]) -> list[str]:
    return [f"! {row.title}: {reason}" for row in rows for reason in row.missing]
