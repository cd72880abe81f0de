"""Where a task's examples come from: the Hub, a folder of the GLUE release, a user's own files, or a generator."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from datasets import Dataset, Features

from peftlab.errors import UserError
from peftlab.tasks.kind import kind_of
from peftlab.tasks.sources.contrast import make_contrast
from peftlab.tasks.sources.demo import make_demo
from peftlab.tasks.sources.digits import make_digits
from peftlab.tasks.sources.examples import Columns
from peftlab.tasks.sources.hub import OFFLINE_WAYS, read_hub
from peftlab.tasks.sources.own import describe_own, own_stamps, read_own
from peftlab.tasks.sources.release import file_hashes, file_stamps, read_release
from peftlab.tasks.task import Task

# Nobody changes the columns that they give.
_contrast, _demo = cache(make_contrast), cache(make_demo)
GENERATORS: dict[str, Callable[[Task], dict[str, Columns]]] = {
    "contrast": lambda task: _contrast(),
    "demo": lambda task: _demo(),
    "digits": lambda task: make_digits(task.labels),
}


def load_splits(task: Task, root: Path | None) -> dict[str, Dataset]:
    """Return the labelled splits of a task: train, validation and what else it names.

    Columns are those of its kind, such as `text_a`, `text_b` (absent where examples are single sentences) and `label`;
    rows keep their order. Every source gives the same labels.

    Args:
        task: what to load.
        root: the folder of the GLUE release; None for the Hub. Own files and a generator need neither.

    Raises:
        UserError: files missing or malformed, no network, or no such source for this task.
    """
    kind, splits = kind_of(task), {}
    for split, columns in _read(task, root).items():
        features = Features(**{name: kind.columns[name] for name in columns})
        splits[split] = kind.admit(Dataset.from_dict(columns, features=features), split)
    return splits


def describe_source(task: Task, root: Path | None) -> dict[str, Any]:
    """Return where `load_splits` reads: the generator, the Hub's path, or files with their SHA-256."""
    if task.generator is not None:
        return {"generator": task.generator}
    if task.own is not None:
        return describe_own(task.own)
    if root is None and task.hub is not None:
        revision = {"revision": task.hub.revision} if task.hub.revision else {}
        return {"hub": task.hub.path, "config": task.hub.config, **revision}
    if root is not None and task.files is not None:
        return {"folder": task.files.folder, "files": file_hashes(task, task.files, root)}
    raise _no_source(task, root)


def source_stamp(task: Task, root: Path | None) -> list[Any]:
    """Return what changes when the files of `load_splits` do: their times and sizes; nothing for other sources."""
    if task.own is not None:
        return own_stamps(task.own)
    return file_stamps(task.files, root) if root is not None and task.files is not None else []


def _read(task: Task, root: Path | None) -> dict[str, Columns]:
    if task.generator is not None:
        if task.generator not in GENERATORS:
            raise UserError(f"task.generator={task.generator}: allowed are {', '.join(GENERATORS)}")
        return GENERATORS[task.generator](task)
    if task.own is not None:
        return read_own(kind_of(task), task.own)
    if root is None and task.hub is not None:
        return read_hub(kind_of(task), task.hub)
    if root is not None and task.files is not None:
        return read_release(kind_of(task), task.files, root)
    raise _no_source(task, root)


def _no_source(task: Task, root: Path | None) -> UserError:
    if root is None:
        return UserError(f"task={task.name} names no Hub dataset; {OFFLINE_WAYS}")
    return UserError(f"data.root={root}: task={task.name} names no files; leave data.root out")
