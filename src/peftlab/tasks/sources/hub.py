"""Read a task's examples from the Hugging Face Hub, or from its cache on this machine."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import datasets
from datasets import ClassLabel, Dataset, Image

from peftlab.errors import UserError, prefix_errors, require
from peftlab.network import hub_reachable
from peftlab.tasks.kind import TaskKind
from peftlab.tasks.sources.examples import Columns, columns_of
from peftlab.tasks.task import HubSource, required_splits

log = logging.getLogger(__name__)

OFFLINE_WAYS = "data.root=FOLDER (a folder of the GLUE release) and task=demo work without a network"


def read_hub(kind: TaskKind, source: HubSource) -> dict[str, Columns]:
    """Return for each split its columns as the kind names them, rows in the dataset's order.

    Without a network the local cache is used where it holds the dataset; no dataset script is ever run.

    Raises:
        UserError: the dataset cannot be had, or its columns or labels are not those of the task.
    """
    found = _load(source)
    splits: dict[str, Columns] = {}
    for split, theirs in source.splits.items():
        if theirs in found:
            splits[split] = _columns(kind, source, found[theirs])
        else:
            needed = split in required_splits(source)
            require(not needed, f"{_spelt(source)}: no split {theirs!r}; it has {', '.join(found)}")
            log.warning("%s has no split %s; continuing without %s", _spelt(source), theirs, split)
    return splits


def _load(source: HubSource) -> dict[str, Dataset]:
    reachable = hub_reachable()
    try:
        with contextlib.nullcontext() if reachable else _offline():
            if source.revision is None:
                return dict(datasets.load_dataset(source.path, source.config))
            # A branch of converted files has a folder for each configuration, and no list of them.
            return dict(datasets.load_dataset(source.path, data_dir=source.config, revision=source.revision))
    except Exception as error:  # the library lets errors of a dozen libraries through
        reason = "the Hub cannot be reached and the cache does not hold it"
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}" if reachable else reason
        raise UserError(f"{_spelt(source)}: {reason}; {OFFLINE_WAYS}") from error


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Make `datasets` look into its cache at once: by itself it would first wait for retries and time-outs."""
    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _columns(kind: TaskKind, source: HubSource, dataset: Dataset) -> Columns:
    if source.form or kind.form != "texts":
        return columns_of(kind, source, _rows(source, dataset))
    for column in source.columns.values():
        known = ", ".join(dataset.column_names)
        require(column in dataset.column_names, f"{_spelt(source)}: no column {column!r}; the columns are {known}")
    columns = {name: dataset[column][:] for name, column in source.columns.items()}
    with prefix_errors(f"{_spelt(source)}: "):
        return {**columns, "label": _labels(kind, dataset.features[source.label], columns["label"])}


def _labels(kind: TaskKind, feature: Any, values: list[Any]) -> list[Any]:
    if isinstance(feature, ClassLabel):
        require(min(values) >= 0, "a label is hidden (-1); only labelled splits can be used")
        named = [kind.label(name) for name in feature.names]
        return [named[value] for value in values]
    known = {value: kind.label(value) for value in sorted(set(values))}
    return [known[value] for value in values]


def _rows(source: HubSource, dataset: Dataset) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows with their places; numbers of classes, also in lists, become the classes' names."""
    for name, feature in dataset.features.items():
        if isinstance(feature, Image):  # as its file has it: decoded when a model is to read it
            dataset = dataset.cast_column(name, Image(decode=False))
    turned = {name: _names(feature) for name, feature in dataset.features.items()}
    for number, row in enumerate(dataset):
        yield f"{_spelt(source)}, example {number}", {name: turned[name](value) for name, value in row.items()}


def _names(feature: Any) -> Callable[[Any], Any]:
    if isinstance(feature, ClassLabel):
        return lambda value: _name(feature, value)
    inside = getattr(feature, "feature", None)
    if isinstance(inside, ClassLabel):
        return lambda values: [_name(inside, value) for value in values]
    return lambda value: value


def _name(feature: ClassLabel, value: int) -> str:
    require(value >= 0, "a label is hidden (-1); only labelled splits can be used")
    return str(feature.names[value])


def _spelt(source: HubSource) -> str:
    return f"Hub dataset {source.path} ({source.config})"
