"""The lines that a job says when it begins and when it has ended."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peftlab.backbones.spec import folder_name
from peftlab.outcome import Outcome, Progress


def first_line(config: Mapping[str, Any], folder: Path) -> str:
    """Return what a run is about to do, from its configuration alone: nothing is loaded yet."""
    names = {group: config[group]["name"] for group in ("task", "strategy")}
    backbone = folder_name(config["backbone"]) or config["backbone"]["name"]
    shots = config["shots"]["per_class"]
    few = f" ({shots} examples a class)" if shots is not None else ""
    loading = f"loading {backbone} and {names['task']}{few} for {names['strategy']}"
    return f"{loading}, seed {config['seed']}, into {_short(folder)}"


def last_line(outcome: Outcome, progress: Progress | None) -> str:
    """Return what became of a sweep's run, how far the sweep is, and how long it may still take."""
    match outcome.status:
        case "finished":
            said = _result(outcome.folder)
        case "skipped":
            said = f"skipped: {outcome.message}"
        case "mistake" | "crashed":
            said = "failed"
        case other:
            said = other
    return f"{said}{_how_far(progress) if progress else ''}"


def _result(folder: Path) -> str:
    from peftlab.results.record import FILE_NAME, RunRecord
    from peftlab.results.scores import Scale

    if not (folder / FILE_NAME).is_file():
        return "finished"
    record = RunRecord.read(folder)
    about = f"{record.strategy}, seed {record.seed}: "
    if record.metric is None:
        return f"{about}{record.status}"
    scale, test = Scale.of(record.metric), record.metric.test
    value = record.metric.validation if test is None else test
    score = "no score" if value is None else f"{record.metric.name} {scale.text(scale.score(value))}"
    return f"{about}{score} in {_duration(record.seconds.total or 0)}"


def _how_far(progress: Progress) -> str:
    if progress.runs is None:
        return f"; {progress.done} runs done"
    left = progress.seconds_left
    return f"; {progress.done} of {progress.runs} runs done" + (f", about {_duration(left)} left" if left else "")


def _duration(seconds: float) -> str:
    """Return seconds as a reader says them: ``8 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _short(folder: Path) -> Path:
    """Return a folder as it is seen from here, where it lies below."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
