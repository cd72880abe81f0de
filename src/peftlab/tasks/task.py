"""A task is data: one YAML file in `conf/task/` describes it wholly."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from peftlab.errors import nearest, require
from peftlab.options.schema import build
from peftlab.output_layer import OutputLayer, classes, score

CLASSIFICATION_METRICS = ("accuracy", "f1", "matthews")
REGRESSION_METRICS = ("spearman", "pearson")
REQUIRED_SPLITS = ("train", "validation")


@dataclass(frozen=True)
class HubSource:
    """A dataset of the Hugging Face Hub.

    `text` and `label` name its columns; `splits` maps our split names to the dataset's.
    """

    path: str
    config: str
    text: list[str]
    label: str
    splits: dict[str, str]


@dataclass(frozen=True)
class FileSource:
    """Tab-separated files without quoting, as in the GLUE release.

    `splits` maps our split names to file names inside `folder`; `header` gives the column names of files that
    have no header line; `labels` says how the files write the task's labels, in the task's order, where that
    differs; `skip_short_rows` drops rows that lack columns instead of refusing the file.
    """

    folder: str
    text: list[str]
    label: str
    splits: dict[str, str]
    header: list[str] | None = None
    labels: list[str] | None = None
    skip_short_rows: bool = False


@dataclass(frozen=True)
class Task:
    """What is to be learnt, from which columns, and how it is measured.

    A classification task has `labels`, whose order gives the label ids; a regression task has a `range` of
    scores instead. The first of `metrics` is the primary one. At least one of `hub`, `files` and `generator`
    says where the examples come from; a split other than train and validation may be missing.
    """

    name: str
    metrics: list[str]
    labels: list[str] = field(default_factory=list)
    range: list[float] | None = None
    hub: HubSource | None = None
    files: FileSource | None = None
    generator: str | None = None

    @property
    def is_regression(self) -> bool:
        """True when the task predicts a score and not a class."""
        return self.range is not None

    @property
    def num_labels(self) -> int:
        """Return the number of outputs of the classifier: one a class, or a single score."""
        return 1 if self.is_regression else len(self.labels)

    @property
    def output_layer(self) -> OutputLayer:
        """Return what stands on top of the backbone."""
        return score() if self.is_regression else classes(self.labels)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Task":
        """Return the task that a YAML file of `conf/task/` describes.

        Raises:
            UserError: an unknown, missing or contradictory key.
        """
        options = {str(key): value for key, value in config.items()}
        for key, source in (("hub", HubSource), ("files", FileSource)):
            if options.get(key) is not None:
                options[key] = build(source, options[key], f"task.{key}")
        task = build(cls, options, "task")
        task._check()
        return task

    def _check(self) -> None:
        where = f"task={self.name}"
        require(
            (len(self.labels) > 1) != self.is_regression,
            f"{where}: give either labels (two or more) or a range of scores",
        )
        require(len(set(self.labels)) == len(self.labels), f"{where}: labels={self.labels} holds a label twice")
        if self.range is not None:
            valid = len(self.range) == 2 and self.range[0] < self.range[1]
            require(valid, f"{where}: range={self.range} must be [lowest, highest]")
        self._check_metrics(where)
        require(
            any((self.hub, self.files, self.generator)),
            f"{where}: give one of hub, files, generator; nothing says where the examples come from",
        )
        for key, source in (("hub", self.hub), ("files", self.files)):
            if source is not None:
                self._check_source(f"{where}: {key}", source)

    def _check_metrics(self, where: str) -> None:
        allowed = REGRESSION_METRICS if self.is_regression else CLASSIFICATION_METRICS
        require(bool(self.metrics), f"{where}: metrics is empty; allowed are {', '.join(allowed)}")
        for metric in self.metrics:
            require(
                metric in allowed,
                f"{where}: metrics={metric}{nearest(str(metric), allowed)}; allowed are {', '.join(allowed)}",
            )
        binary = "f1" not in self.metrics or len(self.labels) == 2
        require(binary, f"{where}: metrics=f1 is that of the second of two labels; there are {len(self.labels)}")

    def _check_source(self, where: str, source: HubSource | FileSource) -> None:
        columns = len(source.text)
        require(
            columns in (1, 2),
            f"{where}.text={source.text}: allowed are one or two column names",
        )
        for split in REQUIRED_SPLITS:
            require(split in source.splits, f"{where}.splits.{split}: missing")
        if isinstance(source, FileSource) and source.labels is not None:
            same = len(source.labels) == len(self.labels)
            require(same, f"{where}.labels={source.labels}: allowed is one text for each of {self.labels}")
