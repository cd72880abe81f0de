"""One landscape, top to bottom: which runs, what is there already, what is missing."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from peftlab.cache import RunCache
from peftlab.command_line import program
from peftlab.data.module import TaskData
from peftlab.errors import require
from peftlab.landscape.measure import Survey
from peftlab.landscape.surface import axis
from peftlab.landscape.tuned import TunedRun, check_together
from peftlab.locks import exclusive_lock
from peftlab.recording import REPOSITORY
from peftlab.results.environment import commit_and_dirty, device_name, versions
from peftlab.results.found import find_records
from peftlab.results.landscapes import FILE_NAME, Landscape, LandscapeOptions, RunLandscape, Surface


def draw(
    folders: Sequence[Path],
    out: Path,
    settings: LandscapeOptions,
    data_root: str | None,
    backbone_path: str | None,
    tell: Callable[[str], None],
) -> Landscape:
    """Measure the landscape of every run below `folders` and leave it in `out`, resuming what is there.

    Args:
        folders: finished runs, or folders of such, of one task, backbone and number of shots.
        out: the folder to write to.
        settings: what all runs share.
        data_root: the task's files, when they are not where the runs found them.
        backbone_path: the backbone's files, when they come from a folder.
        tell: is given a line now and then.

    Raises:
        UserError: settings out of range, runs that cannot be compared, or a landscape of others in `out`.
    """
    check(settings)
    runs = find_runs(folders, backbone_path)
    for run in runs:
        if not run.steps and not settings.matched:
            tell(f"{run.folder}: it kept no weights on its way (checkpoint.trajectory=N keeps N): no path is drawn")
    with exclusive_lock(out, patience=0.0) as alone:
        require(alone, f"{out}: another process is at work in this folder; give --out another")
        backbone = runs[0].rebuild()
        data = runs[0].data(backbone, data_root)
        settings = replace(settings, examples=min(settings.examples, len(data.splits["train"])))
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        landscape = go_on(_new(runs, settings, data, device), out)
        if landscape.finished:
            tell(f"{out / FILE_NAME}: is complete")
        else:
            Survey(landscape, out, data, device, tell).measure(runs)
    return landscape


def check(settings: LandscapeOptions) -> None:
    """Raise `UserError` for settings out of their range."""
    require(settings.seed >= 0, f"--seed {settings.seed}: allowed is 0 or more")
    odd = settings.points >= 3 and settings.points % 2 == 1
    require(odd, f"--points {settings.points}: allowed are odd numbers from 3")
    for name in ("examples", "directions"):
        value = getattr(settings, name)
        require(value >= 1, f"--{name} {value}: allowed is 1 or more")
    for name in ("radius", "sharpness_radius"):
        value = getattr(settings, name)
        require(0 < value < float("inf"), f"--{name.replace('_', '-')} {value}: allowed is above 0")


def find_runs(folders: Sequence[Path], backbone_path: str | None) -> list[TunedRun]:
    """Return every run below `folders`, each once; UserError where they cannot stand side by side."""
    records = {
        record.folder.resolve(): record for folder in folders for record in find_records(folder) if record.folder
    }
    require(bool(records), f"no runs below {', '.join(map(str, folders))}: not one result.json was found")
    cache = RunCache(most=1)
    runs = [TunedRun(record, cache, backbone_path) for record in records.values()]
    check_together(runs)
    return runs


def go_on(new: Landscape, out: Path) -> Landscape:
    """Return the landscape in `out` if it is the same one as `new`, and `new` if there is none.

    Raises:
        UserError: it is of other runs or settings; names the first difference.
    """
    file = out / FILE_NAME
    if not file.exists():
        return new
    found = Landscape.read(file)
    theirs, ours = _defining(found), _defining(new)
    for name, value in ours.items():
        was = theirs[name]
        require(
            value == was, f"{file}: is a landscape with {name}={was}, not {value}; name another folder, or remove it"
        )
    return found


def _defining(landscape: Landscape) -> dict[str, Any]:
    data = {"task": landscape.task, "backbone": landscape.backbone, "shots": landscape.shots}
    return {
        **data,
        "examples": landscape.examples_sha256,
        **asdict(landscape.settings),
        "runs": [run.id for run in landscape.runs],
    }


def _new(runs: Sequence[TunedRun], settings: LandscapeOptions, data: TaskData, device: torch.device) -> Landscape:
    commit, dirty = commit_and_dirty(REPOSITORY)
    record, line = runs[0].record, axis(-settings.radius, settings.radius, settings.points)
    return Landscape(
        task=record.task,
        backbone=record.backbone,
        shots=record.shots,
        settings=settings,
        examples_sha256=data.describe()["content_sha256"]["train"],
        runs=[
            RunLandscape(run.id, run.record.strategy, run.record.seed, surface=Surface([*line], [*line]))
            for run in runs
        ],
        versions=versions(),
        commit=commit,
        dirty=dirty,
        device=device_name(device.type),
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=[*program("landscape", "python -m peftlab.landscape").split(" "), *sys.argv[1:]],
    )
