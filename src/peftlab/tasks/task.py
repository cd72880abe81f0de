"""A task is data: one YAML file in `conf/task/` describes it wholly; what is done with it, its kind says."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from peftlab.errors import require
from peftlab.options.schema import build


@dataclass(frozen=True)
class HubSource:
    """A dataset of the Hugging Face Hub.

    `text` and `label` name its columns; `splits` maps our split names to the dataset's; `form` names one of
    `tasks/forms/`, which makes the kind's rows of the dataset's, where columns alone are not enough. `revision` is a
    branch of its repository: `refs/convert/parquet` where the dataset itself is a script, which nobody runs.
    """

    path: str
    config: str
    text: list[str] = field(default_factory=list)
    label: str = "label"
    splits: dict[str, str] = field(default_factory=dict)
    form: str | None = None
    revision: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Its column for each of ours."""
        return _columns(self.text, self.label)


@dataclass(frozen=True)
class FileSource:
    """Files below `data.root`.

    `splits` maps our split names to file names inside `folder`; `header` gives the column names of files that
    have no header line; `labels` says how the files write the task's labels, in the task's order, where that
    differs; `skip_short_rows` drops rows that lack columns instead of refusing the file. `format` is `tsv`,
    tab-separated without quoting, as in the GLUE release; `csv`; `jsonl`, an object a line, as in SuperGLUE's;
    `squad`, SQuAD's JSON; or `conll`, a word a line with its tag last. `form` is as for the Hub.
    """

    folder: str
    text: list[str] = field(default_factory=list)
    label: str = "label"
    splits: dict[str, str] = field(default_factory=dict)
    header: list[str] | None = None
    labels: list[str] | None = None
    skip_short_rows: bool = False
    format: Literal["tsv", "csv", "jsonl", "squad", "conll"] = "tsv"
    form: str | None = None

    @property
    def columns(self) -> dict[str, str]:
        """Its column for each of ours."""
        return _columns(self.text, self.label)


@dataclass(frozen=True)
class OwnFiles:
    """A user's own files, wherever they lie; `sources/own.py` fills this in from `data.train` and its like.

    `text` and `label` name their columns. `splits` maps our split names to paths; without one for validation,
    `held_out` is the share of the training file that validates. `form` is as for the Hub.
    """

    text: list[str] = field(default_factory=list)
    label: str = "label"
    splits: dict[str, str] = field(default_factory=dict)
    held_out: float | None = None
    form: str | None = None


Source = HubSource | FileSource | OwnFiles


@dataclass(frozen=True)
class Task:
    """What is to be learnt, from which columns, and how it is measured.

    `kind` names one of `tasks/kinds/` or of a user's package; left out, it is regression where there is a `range` of
    scores, else classification. `labels`, whose order gives the label ids, `range` and `options`, those of its own,
    are for the kind. The first of `metrics` is the primary one. At least one of `hub`, `files`, `own` and `generator`
    says where the examples come from; a split other than train and validation may be missing.
    """

    name: str
    metrics: list[str]
    labels: list[str] = field(default_factory=list)
    range: list[float] | None = None
    kind: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    hub: HubSource | None = None
    files: FileSource | None = None
    own: OwnFiles | None = None
    generator: str | None = None
    max_length: int | None = None

    @property
    def kind_name(self) -> str:
        """The kind, also of a task that does not name it, as none did before there was more than these two."""
        return self.kind or ("regression" if self.range is not None else "classification")

    @property
    def sources(self) -> dict[str, Source]:
        """The places that have a description, by their keys."""
        described: dict[str, Source | None] = {"hub": self.hub, "files": self.files, "own": self.own}
        return {key: source for key, source in described.items() if source is not None}

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation set of its own."""
        made = self.generator is not None or self.own is not None
        return made or any("validation" in source.splits for source in self.sources.values())

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Task":
        """Return the task that a YAML file of `conf/task/` describes.

        Raises:
            UserError: an unknown, missing or contradictory key.
        """
        return build(cls, {str(key): value for key, value in config.items()}, "task")

    def __post_init__(self) -> None:
        where = f"task={self.name}"
        found = self.sources or self.generator
        allowed = "hub, files, own, generator"
        require(bool(found), f"{where}: give one of {allowed}; nothing says where the examples come from")
        for key, source in self.sources.items():
            for split in required_splits(source) if key != "own" else ():
                require(split in source.splits, f"{where}: {key}.splits.{split}: missing")


def required_splits(source: Source) -> tuple[str, ...]:
    """Return the splits that a source must have: a task without validation set is measured on its test set."""
    return ("train", "validation" if "validation" in source.splits or "test" not in source.splits else "test")


def _columns(text: list[str], label: str) -> dict[str, str]:
    return {**{f"text_{letter}": column for letter, column in zip("ab", text, strict=False)}, "label": label}


def is_missing(value: Any) -> bool:
    """Return whether a cell is empty: None, a text without words, or NaN, as pandas writes a missing number."""
    nan = isinstance(value, float) and math.isnan(value)
    return value is None or nan or (isinstance(value, str) and not value.strip())
