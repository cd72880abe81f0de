"""Read a task's examples from the Hugging Face Hub, or from its cache on this machine."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import datasets
from datasets import ClassLabel, Dataset

from peftlab.errors import UserError, prefix_errors, require
from peftlab.network import hub_reachable
from peftlab.tasks.kind import TaskKind
from peftlab.tasks.task import REQUIRED_SPLITS, HubSource

log = logging.getLogger(__name__)

OFFLINE_WAYS = "data.root=FOLDER (a folder of the GLUE release) and task=demo work without a network"


def read_hub(kind: TaskKind, source: HubSource) -> dict[str, dict[str, list[Any]]]:
    """Return for each split its columns as the kind names them, rows in the dataset's order.

    Without a network the local cache is used where it holds the dataset; no dataset script is ever run.

    Raises:
        UserError: the dataset cannot be had, or its columns or labels are not those of the task.
    """
    found = _load(source)
    splits: dict[str, dict[str, list[Any]]] = {}
    for split, theirs in source.splits.items():
        if theirs in found:
            splits[split] = _columns(kind, source, found[theirs])
        else:
            require(split not in REQUIRED_SPLITS, f"{_spelt(source)}: no split {theirs!r}; it has {', '.join(found)}")
            log.warning("%s has no split %s; continuing without %s", _spelt(source), theirs, split)
    return splits


def _load(source: HubSource) -> dict[str, Dataset]:
    reachable = hub_reachable()
    try:
        with contextlib.nullcontext() if reachable else _offline():
            return dict(datasets.load_dataset(source.path, source.config))
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


def _columns(kind: TaskKind, source: HubSource, dataset: Dataset) -> dict[str, list[Any]]:
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


def _spelt(source: HubSource) -> str:
    return f"Hub dataset {source.path} ({source.config})"
