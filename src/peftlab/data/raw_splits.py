"""The labelled splits of a task as their source has them, with their hashes; a sweep reads them once."""

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from datasets import Dataset

from peftlab.cache import RunCache
from peftlab.inputs.encoder import content_hash
from peftlab.tasks.sources.splits import describe_source, load_splits, source_stamp
from peftlab.tasks.task import Task


@dataclass(frozen=True)
class RawSplits:
    """A task's splits by name, the SHA-256 of each one's content, and where they come from."""

    splits: dict[str, Dataset]
    hashes: dict[str, str]
    source: dict[str, Any]


def read_raw_splits(task: Task, root: Path | None, cache: RunCache) -> RawSplits:
    """Return a task's splits, from memory where `cache` has them and their files are as they were.

    Raises:
        UserError: files missing or malformed, no network, or no such source for this task.
    """
    key = json.dumps([asdict(task), str(root), source_stamp(task, root)])
    return cache.get("raw splits", key, partial(_read, task, root))


def _read(task: Task, root: Path | None) -> RawSplits:
    splits = load_splits(task, root)
    hashes = {name: content_hash(split) for name, split in splits.items()}
    return RawSplits(splits, hashes, describe_source(task, root))
