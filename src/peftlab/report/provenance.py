"""Where each number comes from: the environments, and every run with its exact command."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

from peftlab.report.study import Study
from peftlab.results.aggregate import Setting
from peftlab.results.record import RunRecord
from peftlab.results.scores import Scale

Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Environment:
    """Code, device and versions that runs share; `number` is how the page names it, `runs` how many it made."""

    number: int
    facts: Facts
    runs: int


@dataclass(frozen=True)
class Source:
    """One run: what it was, how it ended, and what to type to have it again."""

    setting: str
    method: str
    seed: int
    status: str
    reason: str
    score: float | None
    collapsed: bool
    learning_rate: float | None
    batch_size: int | None
    epochs: float | None
    steps: int | None
    precision: str | None
    started: str
    environment: int
    folder: str
    command: str
    scale: Scale = field(metadata={"csv": False})


def trace(study: Study) -> tuple[list[Environment], list[Source]]:
    """Return the environments, the most used first, and a source for each run that a number rests on."""
    runs = [(cell, run) for cell in study.cells for run in cell.runs]
    by_facts: dict[Facts, int] = {}
    for _, run in runs:
        facts = _facts(run)
        by_facts[facts] = by_facts.get(facts, 0) + 1
    ordered = sorted(by_facts, key=lambda facts: -by_facts[facts])
    environments = [Environment(number, facts, by_facts[facts]) for number, facts in enumerate(ordered, start=1)]
    numbers = {facts: number for number, facts in enumerate(ordered, start=1)}
    return environments, [
        Source(
            setting=cell.setting.title,
            method=cell.method.label,
            seed=run.seed,
            status=run.status,
            reason=run.reason or "",
            score=cell.scores.get(run.seed),
            collapsed=run.collapsed,
            learning_rate=run.training.learning_rate if run.training else None,
            batch_size=run.training.batch_size if run.training else None,
            epochs=run.training.epochs if run.training else None,
            steps=run.training.steps if run.training else None,
            precision=run.training.precision if run.training else None,
            started=run.started or "",
            environment=numbers[_facts(run)],
            folder=_inside(run.folder),
            command=command(run),
            scale=cell.scale,
        )
        for cell, run in runs
    ]


def command(run: RunRecord) -> str:
    """Return the command of the run as a shell takes it; of a sweep it is the whole sweep's."""
    if not run.command:
        return "not recorded"
    return shlex.join(run.command if run.command[0] == "peftlab" else ["python", *run.command])


def collapsed_or_missing(sources: Iterable[Source]) -> list[Source]:
    """Return the runs that a reader must not overlook: without a score, or with one answer to everything.

    A skipped run did not fail and is not missing: it is not listed.
    """
    runs = (source for source in sources if source.status != "skipped")
    return [source for source in runs if source.score is None or source.collapsed]


def skipped(sources: Iterable[Source]) -> list[Source]:
    """Return the runs whose method does not fit the backbone or the kind of task."""
    return [source for source in sources if source.status == "skipped"]


def csv_rows(sources: Iterable[Source]) -> list[list[object]]:
    """Return a header and a row for each run."""
    names = [column.name for column in fields(Source) if column.metadata.get("csv", True)]
    return [list(names), *([getattr(source, name) for name in names] for source in sources)]


def unequal(study: Study) -> list[str]:
    """Return, for each setting, what differs between its methods besides the methods: each a line."""
    return [f"{setting.title}: {line}" for setting in study.settings for line in _conditions(study, setting)]


def _conditions(study: Study, setting: Setting) -> list[str]:
    found: dict[str, dict[str, dict[str, None]]] = {}
    for cell in study.of(setting):
        for run in cell.finished:
            training = run.training
            values = {
                "device": run.device,
                "commit": run.commit and run.commit[:8] + ("+" if run.dirty else ""),
                "precision": training.precision if training else None,
                "epochs": f"{training.epochs:g}" if training else None,
                "max_length": run.data.get("max_length"),
            }
            for name, value in values.items():
                found.setdefault(name, {}).setdefault(str(value), {})[cell.method.label] = None
    return [
        f"{name} is " + "; ".join(f"{value} for {_some(list(methods))}" for value, methods in values.items())
        for name, values in found.items()
        if len(values) > 1
    ]


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _facts(run: RunRecord) -> Facts:
    code = "not recorded" if run.commit is None else run.commit + (" with changes" if run.dirty else "")
    return (("commit", code), ("device", run.device or "not recorded"), *sorted(run.versions.items()))


def _inside(folder: Path | None) -> str:
    """Return the last parts of a run's folder: enough to find it, without the paths of this machine."""
    return "" if folder is None else "/".join(folder.parts[-3:])
