"""`train.py ... --dry-run`: which runs a command would make, their hours and their disk, as earlier runs took them.

A run takes what finished runs took that differ from it in nothing that costs time: in the seed, the rate or where the
data lie. Where all of them were cut short by `trainer.max_steps`, their steps are counted as often as a whole run's.
"""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from peftlab.hydra_internals import compose_job
from peftlab.options.roles import option_of
from peftlab.plan import make_parts
from peftlab.redaction import redact
from peftlab.results.found import read_records
from peftlab.results.pairs import swept_options
from peftlab.results.record import RunRecord
from peftlab.results.settings import comparable, recorded_config
from peftlab.results.table import NARROWEST, WIDTH

SEARCHED = ("multirun", "outputs")  # where a command's runs lie unless it says otherwise
STEPS = 50  # of the runs that measure: the first ones are slower
_WHERE = ("task", "backbone", "shots")  # they name a run where they vary
_FREE = (
    "seed", "search", "training.learning_rate", "training.weight_decay", "training.warmup", "training.warmup_steps",
    "training.schedule", "trainer.max_steps", "data.root", "backbone.path",
)  # fmt: skip

Settings = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Run:
    """One run of the command: its seed, what it is called, its epochs, and its resolved configuration."""

    seed: int
    name: str
    epochs: int
    config: Mapping[str, Any]

    @cached_property
    def cost(self) -> Settings:
        """What its cost depends on."""
        return cost_settings(recorded_config(self.config))


@dataclass(frozen=True)
class Cost:
    """What one run takes: seconds, bytes on disk, and the device; `steps` where so many were measured, and not all."""

    seconds: float
    disk: int
    device: str
    steps: int | None = None


def composed(sweep: DictConfig, jobs: Sequence[Sequence[str]]) -> list[Run]:
    """Return the runs of a command; those that differ in the seed alone are composed once.

    Args:
        sweep: the configuration that Hydra has made of the command.
        jobs: the overrides of each run.

    Raises:
        UserError: an option that is unknown, missing or out of its range.
    """
    words = [{option_of(word): word.partition("=")[2] for word in job} for job in jobs]
    named = swept_options(jobs) | {name for name in _WHERE if len({of.get(name) for of in words}) > 1}
    names = [" ".join(f"{name}={value}" for name, value in of.items() if name in named) for of in words]
    known: dict[tuple[str, ...], tuple[int, dict[str, Any]]] = {}
    runs = []
    for name, job in zip(names, jobs, strict=True):
        rest = tuple(word for word in job if option_of(word) != "seed")
        if rest not in known:
            config = _plain(compose_job(sweep, job))
            parts = make_parts(config)
            known[rest] = config["trainer"]["max_epochs"] or parts.settings.epochs, config
        epochs, config = known[rest]
        given = dict(word.split("=", 1) for word in job if option_of(word) == "seed")
        runs.append(Run(int(given.get("seed", config["seed"])), name or "one run", epochs, config))
    return runs


def cost_settings(config: Mapping[str, Any]) -> Settings:
    """Return the settings that a run's cost depends on, those of the task among them."""
    return _settings(config, {name: value for name, value in comparable(config).items() if not _is_free(name)})


def cost_of(run: Run, measured: Iterable[RunRecord]) -> Cost | None:
    """Return what a run takes as finished ones of its cost did: the mean of whole ones, else by the longest cut one."""
    alike = [record for record in measured if record.status == "finished" and cost_settings(record.config) == run.cost]
    if whole := [record for record in alike if _steps_asked(record.config) == _steps_asked(run.config)]:
        seconds = sum(record.seconds.total or 0.0 for record in whole) / len(whole)
        return Cost(seconds, max(map(_disk, whole)), whole[-1].device or "")
    cut = [record for record in alike if _says_steps(record)]
    return _multiplied(max(cut, key=_steps), run) if cut else None


def show(runs: Sequence[Run], sweep: Path, command: Sequence[str], console: Console | None = None) -> None:
    """Print what a command would do: a row for each kind of run, the sum, and how to measure what is not known.

    Args:
        runs: those of the command.
        sweep: the folder that they would lie in; what has finished there is not done again.
        command: the words that were typed, without `--dry-run`.
        console: where to print.
    """
    console = console or Console()
    console.width = max(console.width, NARROWEST) if console.is_terminal else WIDTH
    records = read_records(folder for folder in (sweep, *map(Path, SEARCHED)) if folder.is_dir()).records
    finished = {_whole_run(record.config, record.seed) for record in records if _is_done(record, sweep)}
    kinds: dict[Settings, list[Run]] = {}
    for run in runs:
        kinds.setdefault(run.cost, []).append(run)
    table, costs = _table(), []
    for alike in kinds.values():
        left = [run for run in alike if _whole_run(recorded_config(run.config), run.seed) not in finished]
        costs.append((cost_of(alike[0], records), len(left)))
        table.add_row(*_row(alike, *costs[-1]))
    console.print(table)
    lines = _sums(costs, len(runs), sweep)
    if any(cost is None for cost, _ in costs):
        words = [word for word in command if option_of(word) not in ("seed", "hydra.sweep.dir", "hydra.run.dir")]
        measure = [*words, f"seed={runs[0].seed}", f"trainer.max_steps={STEPS}", "hydra.sweep.dir=multirun/measured"]
        lines.append(f"to measure them: {redact(shlex.join(measure))}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _plain(config: DictConfig) -> dict[str, Any]:
    named = {str(key) for key in config} - {"hydra"}
    plain = OmegaConf.to_container(OmegaConf.masked_copy(config, [*sorted(named)]), resolve=True)
    assert isinstance(plain, dict)
    plain["recipe"]["name"] = config.hydra.runtime.choices.get("recipe")
    return {str(name): value for name, value in plain.items()}


def _table() -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("runs of")
    for name in ("runs", "to do", "minutes a run", "hours", "MB a run"):
        table.add_column(name, justify="right")
    table.add_column("measured by")
    return table


def _row(alike: Sequence[Run], cost: Cost | None, left: int) -> list[str]:
    name, counts = redact(alike[0].name), [str(len(alike)), str(left)]
    if cost is None:
        return [name, *counts, "?", "?", "?", "nothing yet"]
    by = "whole runs" if cost.steps is None else f"{cost.steps} steps"
    minutes = cost.seconds / 60
    return [name, *counts, f"{minutes:.1f}", f"{minutes * left / 60:.2f}", f"{cost.disk / 1e6:.1f}", by]


def _sums(costs: Sequence[tuple[Cost | None, int]], runs: int, sweep: Path) -> list[str]:
    known = [(cost, left) for cost, left in costs if cost is not None]
    left = sum(left for _, left in costs)
    minutes = sum(cost.seconds * of for cost, of in known) / 60
    disk = sum(cost.disk * of for cost, of in known)
    devices = sorted({cost.device for cost, _ in known if cost.device})
    on = f" on {' and '.join(devices)}" if devices else ""
    time = f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
    lines = [f"to do: {left} of {runs} runs, into {sweep}"]
    if known:
        lines.append(f"one after another: {time}{on}; {disk / 1e6:.0f} MB")
    unknown = [of for cost, of in costs if cost is None]
    if unknown:
        lines.append(f"not counted: {sum(unknown)} of them, of which no run was measured")
    return lines


def _multiplied(record: RunRecord, run: Run) -> Cost:
    """Return what a whole run takes, by the steps of one that was cut short: loading and choosing heads count once."""
    seconds = record.seconds
    evaluation = seconds.evaluation or 0.0
    once = (seconds.total or 0.0) - (seconds.training or 0.0) - evaluation
    epoch = record.data["examples"]["train"] / _speed(record) + evaluation
    return Cost(once + run.epochs * epoch, _disk(record), record.device or "", _steps(record))


def _speed(record: RunRecord) -> float:
    """Return the examples a second; 0 where it is not known."""
    return (record.throughput.examples_per_second or 0.0) if record.throughput is not None else 0.0


def _steps(record: RunRecord) -> int:
    return record.training.steps if record.training is not None else 0


def _says_steps(record: RunRecord) -> bool:
    return _speed(record) > 0 and isinstance(record.data.get("examples"), dict)


def _steps_asked(config: Mapping[str, Any]) -> object:
    return (config.get("trainer") or {}).get("max_steps", -1)


def _is_done(record: RunRecord, sweep: Path) -> bool:
    below = record.folder is not None and record.folder.resolve().is_relative_to(sweep.resolve())
    return below and record.status == "finished"


def _whole_run(config: Mapping[str, Any], seed: int) -> tuple[Settings, int]:
    """Return what two runs share that are the same run."""
    return _settings(config, comparable(config)), seed


def _settings(config: Mapping[str, Any], kept: Mapping[str, str]) -> Settings:
    named = {name: str((config.get(name) or {}).get("name")) for name in ("task", "strategy")}
    return tuple(sorted({**kept, **named}.items()))


def _disk(record: RunRecord) -> int:
    """Return the bytes of a run's folder; its checkpoints are gone once it has finished."""
    files = record.folder.rglob("*") if record.folder is not None else ()
    return sum(path.stat().st_size for path in files if path.is_file() and "checkpoints" not in path.parts)


def _is_free(name: str) -> bool:
    return any(name == free or name.startswith(f"{free}.") for free in _FREE)
