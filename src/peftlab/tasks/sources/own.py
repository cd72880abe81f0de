"""A user's own files as a task: what its training file leaves open is inferred and told, and its rows are read.

    task=text data.train=my.csv data.validation=dev.jsonl

`own_task` turns `data.train` and its like into a whole description of the task, as a YAML of `conf/task/` would give
it, before anything else is done; from there on it is a task like any other.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from peftlab.errors import UserError, prefix_errors, require
from peftlab.inputs.image_files import image_sha256, is_stored
from peftlab.streams import Stream, seed_of
from peftlab.tasks.kind import KINDS, TaskKind
from peftlab.tasks.sources.columns import LAYOUTS, Layout, Named, columns_in
from peftlab.tasks.sources.examples import Columns, columns_of
from peftlab.tasks.sources.files import class_names, rows_of, sha256_of, splits_in, stamps_of
from peftlab.tasks.sources.formats import Row, once
from peftlab.tasks.sources.inference import INFERENCES
from peftlab.tasks.task import OwnFiles, Task

log = logging.getLogger(__name__)

HELD_OUT = 0.1  # of the training file, where no other validates
_IDS = ("id", "index")
_METRICS = {"range": ["spearman", "pearson"], "labels": ["accuracy", "macro_f1"]}


def own_task(task: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the description of a task of a user's own files, whole; of any other task as it is.

    Args:
        task: the group `task` of a configuration: what the user gives stays.
        data: the group `data`: `train`, `validation` (a file, or the share of `train` that is held out), `test`, `text`
            and `label` (columns).

    Raises:
        UserError: no training file, or one that does not say what is to be learnt.
    """
    if task.get("own") is None:
        return dict(task)
    require(
        data.get("train") is not None, f"data.train: missing; task={task.get('name')} reads it, as data.train=my.csv"
    )
    own = OwnFiles(**_splits(data))
    path, layout = _path(own.splits["train"]), _layout(str(task.get("kind") or "classification"))
    named = columns_in(layout, _header(path, "train"), str(path), data.get("text"), data.get("label"), labelled=True)
    assert named.label is not None
    values = [row.get(named.label) for _, row in _cells(layout, named, path, "train")]
    names = class_names(path).get(named.label)
    with prefix_errors(f"{path}: column {named.label!r}: "):
        found = INFERENCES[_form(task)](values, names, task)
    whole = {**task, **found, "own": {**asdict(own), "text": named.text, "label": named.label}}
    whole["metrics"] = whole.get("metrics") or next(_METRICS[name] for name in _METRICS if whole.get(name))
    _tell(whole, values, named, path)
    return whole


def read_own(kind: TaskKind, own: OwnFiles) -> dict[str, Columns]:
    """Return for each split its columns as the kind names them, rows in file order.

    Raises:
        UserError: a missing or malformed file, with its line where there is one.
    """
    splits = {}
    for split, name in own.splits.items():
        splits[split] = columns_of(kind, own, once(rows_as_read(kind, own, _path(name), split), *_IDS))
        require(bool(splits[split]), f"{name}: empty, no example in it")
    if own.held_out is None:
        return splits
    train, validation = _divided(splits["train"], own)
    return {"train": train, "validation": validation, **{name: splits[name] for name in splits if name != "train"}}


def rows_as_read(kind: TaskKind, own: OwnFiles, path: Path, split: str = "train") -> Iterator[Row]:
    """Yield the rows of a file of any format, with or without labels, as the form of the kind reads them.

    Args:
        kind: of the task.
        own: names the columns.
        path: of the file, or of a saved dataset.
        split: of a saved dataset that holds several.
    """
    return _cells(_layout(kind.task.kind_name), Named(own.text, own.label), path, split)


def describe_own(own: OwnFiles) -> dict[str, Any]:
    """Return name and SHA-256 of each split's file, and the share that is held out of the training file."""
    paths = {split: _path(name) for split, name in own.splits.items()}
    files = {split: {"name": path.name, "sha256": sha256_of(path)} for split, path in paths.items()}
    return {"own": files, **({"held_out": own.held_out} if own.held_out is not None else {})}


def own_stamps(own: OwnFiles) -> list[Any]:
    """Return what changes when the files do."""
    return [stamps_of(_path(name)) for name in own.splits.values() if _path(name).exists()]


def _path(name: str) -> Path:
    return Path(name).expanduser()


def _splits(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file of each split; a saved dataset of several splits brings those that nobody named."""
    train, validation, test = (data.get(name) for name in ("train", "validation", "test"))
    inside = splits_in(_path(str(train)))
    validation = str(train) if validation is None and "validation" in inside else validation
    test = str(train) if test is None and "test" in inside else test
    share = HELD_OUT if validation is None else validation
    if isinstance(share, str):
        share = None
    else:
        require(0 < share < 1, f"data.validation={share}: allowed is a file, or a share in (0, 1) of data.train")
    named = {"train": train, "validation": validation if share is None else None, "test": test}
    return {"splits": {name: str(path) for name, path in named.items() if path is not None}, "held_out": share}


def _form(task: Mapping[str, Any]) -> str:
    return KINDS.get(str(task.get("kind") or "classification")).form


def _layout(kind_name: str) -> Layout:
    form = KINDS.get(kind_name).form
    require(form in LAYOUTS, f"task.kind={kind_name}: its rows are no columns of a file")
    return LAYOUTS[form]


def _header(path: Path, split: str) -> list[str]:
    """Return the columns of a file's first row."""
    first = next(rows_of(path, split), None)
    if first is None:
        raise UserError(f"{path}: empty, no example in it")
    return [str(name) for name in first[1]]


def _cells(layout: Layout, named: Named, path: Path, split: str) -> Iterator[Row]:
    named = replace(named, folder=path.parent)
    for where, row in rows_of(path, split):
        with prefix_errors(f"{where}: "):
            yield where, layout.cells(row, named)


def _divided(columns: Columns, own: OwnFiles) -> tuple[Columns, Columns]:
    """Return training and validation rows, drawn from a fixed seed; what shows a model the same stays together."""
    together = [name for name in ("context",) if name in columns] or [n for n in columns if n not in ("id", "label")]
    keys = [str([*map(_content, row)]) for row in zip(*(columns[name] for name in together), strict=True)]
    classes = {
        key: label if isinstance(label, int) else None for key, label in zip(keys, columns["label"], strict=True)
    }
    require(len(classes) > 1, f"{own.splits['train']}: nothing can be held out of one example; give data.validation")
    held = _drawn(Counter(keys), classes, own.held_out or 0.0)
    parts = [[row for row, key in enumerate(keys) if (key in held) == out] for out in (False, True)]
    train, validation = ({name: [cells[row] for row in rows] for name, cells in columns.items()} for rows in parts)
    return train, validation


def _drawn(sizes: Counter[str], classes: Mapping[str, int | None], share: float) -> set[str]:
    """Return the groups of rows that are held out: of each class its share, and not all that there are of it.

    One group is held out in any case, whatever that leaves.

    Args:
        sizes: the rows of each group.
        classes: the class of each group; None for all where labels are no classes.
        share: of the rows.
    """
    draw = torch.Generator().manual_seed(seed_of(Stream.OWN_VALIDATION, 0))
    names = list(classes)
    order = [names[place] for place in torch.randperm(len(names), generator=draw).tolist()]
    rows: Counter[int | None] = Counter()
    for key, size in sizes.items():
        rows[classes[key]] += size
    wanted, left, held = _portions(rows, share), Counter(classes.values()), set()
    for key in order:
        if wanted[classes[key]] > 0 and left[classes[key]] > 1:
            held.add(key)
            wanted[classes[key]] -= sizes[key]
            left[classes[key]] -= 1
    return held or {order[0]}


def _portions(rows: Counter[int | None], share: float) -> dict[int | None, int]:
    """Return how many rows of each class are held out: by largest remainders, of equal ones the rarer class first."""
    found = {label: int(share * number) for label, number in rows.items()}
    missing = max(1, round(share * rows.total())) - sum(found.values())
    by_remainder = sorted(rows, key=lambda label: (round(found[label] - share * rows[label], 9), rows[label]))
    return {label: number + (label in by_remainder[:missing]) for label, number in found.items()}


def _content(value: Any) -> Any:
    return image_sha256(value) if is_stored(value) else value


def _tell(task: Mapping[str, Any], values: Sequence[Any], named: Named, path: Path) -> None:
    """Say what is read and what was inferred, before anything is trained."""
    log.info("%s: %d rows; columns %s", path, len(values), named)
    kind, own = Task.from_config(task).kind_name, task["own"]
    counts = Counter(str(value) for value in values)
    if task.get("range"):
        said = f"scores from {task['range'][0]} to {task['range'][1]}"
    elif task.get("labels"):
        known = [f"{label} ({counts[label]})" if label in counts else str(label) for label in task["labels"]]
        said = f"labels {', '.join(known)}"
    else:
        said = ", ".join(f"{name}={value}" for name, value in (task.get("options") or {}).items())
    log.info("task=%s: %s%s%s", task["name"], kind, "; " if said else "", said)
    if own["held_out"] is not None:
        log.info("no validation file: %g of %s is held out for it", own["held_out"], path)
