"""A kind of task: one owner from rows to score. `tasks/kinds/` has one file for each, a user's package may have more.

A kind is made for one task, whose labels and metrics it knows. It says what a source must deliver, turns rows into
examples, names the layer on top of the backbone and its loss (the only one: training, Fisher information and
landscapes ask for it), and says what predictions are, how they are scored and written. Dataclass fields of a kind
beside `task` are its options, `options:` of a task's YAML.
"""

import csv
import io
import json
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from datasets import Dataset
from torch import Tensor

from peftlab.errors import UserError, nearest, require
from peftlab.files import write_text_atomic
from peftlab.inputs.encoder import Batch, Encoder, Example, Split, num_examples
from peftlab.options.schema import build
from peftlab.output_layer import OutputLayer
from peftlab.registry import Registry
from peftlab.tasks.task import Task, is_missing

Better = Literal["higher", "lower"]
Unit = Literal["%", ""]


@dataclass(frozen=True)
class Metric:
    """How good predictions are.

    Attributes:
        function: takes all predictions of a split, returns a finite number, or NaN where the gold answers leave it
            undefined: a correlation with scores that are all the same.
        better: which of two values is the better one.
        unit: "%" for a fraction, which is shown times 100; "" for a number that is shown as it is.
    """

    function: Callable[[Any], float]
    better: Better = "higher"
    unit: Unit = "%"


@dataclass(frozen=True)
class Predictions:
    """What a model says of N examples, on the CPU; a kind whose answers need more derives from it.

    Attributes:
        ids: which examples of their split, int64 [N].
        outputs: what the model gave for them, float32 [N, ...], or a list of N where their sizes differ.
        gold: the right answers [N, ...], or a list of N.
    """

    ids: Tensor
    outputs: Any
    gold: Any

    def __post_init__(self) -> None:
        sizes = len(self.ids), len(self.outputs), len(self.gold)
        if len(set(sizes)) != 1:
            raise ValueError(f"{sizes[0]} examples, {sizes[1]} predictions and {sizes[2]} answers do not fit")

    def select(self, numbers: Sequence[int]) -> Self:
        """Return the predictions of these places, in this order."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        return type(self)(**{name: _of(values, numbers) for name, values in columns.items()})

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the predictions of all parts, such as batches, one after the other."""
        columns = {field.name: [getattr(part, field.name) for part in parts] for field in fields(cls)}
        return cls(**{name: _one_after_the_other(values) for name, values in columns.items()})


class KindExample(NamedTuple):
    """A tiny task of a kind, with rows as a source delivers them and predictions that get every row right."""

    kind: "TaskKind"
    rows: Dataset
    predictions: Predictions


@dataclass(frozen=True)
class TaskKind(ABC):
    """One kind of task, for the task that it was made for."""

    name: ClassVar[str]
    metrics: ClassVar[Mapping[str, Metric]]
    columns: ClassVar[Mapping[str, Any]]  # what a source may deliver, with the types that `datasets` keeps it in
    # Metrics that a constant answer does not meet: a record has them beside the task's own.
    recorded_besides: ClassVar[tuple[str, ...]] = ()
    form: ClassVar[str] = "texts"  # how a source's rows become these (`tasks/forms/`), unless it names another form

    task: Task

    @property
    def primary(self) -> str:
        """The metric by which runs are compared, and the best epoch is chosen unless another is named: the first."""
        return self.task.metrics[0]

    def check(self) -> None:
        """Refuse a task's description that does not fit the kind.

        Raises:
            UserError: no metric, or one that the kind does not have.
        """
        where, allowed = f"task={self.task.name}", ", ".join(self.metrics)
        require(bool(self.task.metrics), f"{where}: metrics is empty; allowed are {allowed}")
        for metric in self.task.metrics:
            hint = nearest(metric, self.metrics)
            require(metric in self.metrics, f"{where}: metrics={metric}{hint}; allowed are {allowed}")

    @property
    @abstractmethod
    def output_layer(self) -> OutputLayer:
        """What stands on top of the backbone."""

    @abstractmethod
    def label(self, value: Any, spelt: Sequence[str] | None = None) -> Any:
        """Return what a source calls an example's label as the column `label` keeps it.

        Args:
            value: a text or a number, as the source has it.
            spelt: how the source writes the task's labels, in their order, where that differs.

        Raises:
            UserError: it is no label of this task.
        """

    def check_row(self, row: Mapping[str, Any]) -> None:
        """Refuse a row, as `columns` has it, that is no example.

        Raises:
            UserError: saying what is wrong with it; the source adds where it stands.
        """

    def admit(self, rows: Dataset, split: str) -> Dataset:
        """Return the rows of a split that can be used; those that are left out are counted and told.

        Raises:
            UserError: rows that do not go together, such as two of one `id`.
        """
        if "id" in rows.column_names:
            repeated = [name for name, number in Counter(rows["id"][:]).items() if number > 1]
            require(not repeated, f"task={self.task.name}, {split}: id {''.join(repeated[:1])!r} stands there twice")
        return rows

    def encode(self, rows: Dataset, encoder: Encoder) -> Split:
        """Return the rows, columns as in `columns`, as examples; several of them may be made of one row."""
        return encoder.encode(rows)

    def collate(self, examples: Sequence[Example], encoder: Encoder) -> Batch:
        """Return examples as one batch: what the model reads, and what `loss` and `predict` need."""
        return encoder.collate(examples)

    @abstractmethod
    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean loss of a batch, a scalar, given what the model made of it."""

    def loss_terms(self, batch: Batch) -> int | Tensor:
        """Return how many terms `loss` is the mean of: the examples, unless overridden. Batches are weighted by it."""
        return num_examples(batch)

    @abstractmethod
    def predict(self, outputs: Any, batch: Batch) -> Predictions:
        """Return the predictions of a batch, given what the model made of it."""

    def score(self, predictions: Predictions) -> dict[str, float]:
        """Return the task's metrics over all examples of a split, the primary one first."""
        return {name: self.metrics[name].function(predictions) for name in self.task.metrics}

    def constant_answers(self, predictions: Predictions) -> list[Predictions]:
        """Return, for each answer that may be given to every example, the predictions that give it; [] without one."""
        return []

    def constant_score(self, predictions: Predictions) -> float | None:
        """Return the best value of the primary metric that one answer to all of these examples has.

        None where it is undefined, as a correlation is, or no answer may be given to every example.
        """
        metric = self.metrics[self.primary]
        values = [metric.function(constant) for constant in self.constant_answers(predictions)]
        found = [value for value in values if math.isfinite(value)]
        return (max(found) if metric.better == "higher" else min(found)) if found else None

    @abstractmethod
    def answers(self, predictions: Predictions) -> list[str]:
        """Return each prediction as a user wants to read it."""

    def scores(self, predictions: Predictions) -> list[list[float]]:
        """Return the numbers behind each answer: the model's outputs, unless a kind says what they mean."""
        if isinstance(predictions.outputs, Tensor):
            found: list[list[float]] = predictions.outputs.flatten(1).tolist()
            return found
        return [[] for _ in predictions.outputs]

    def details(self, predictions: Predictions, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return each prediction in plain values, the answer first; the names are the same for all.

        Args:
            predictions: of N examples.
            rows: those examples as `columns` has them.
        """
        answers, scores = self.answers(predictions), self.scores(predictions)
        return [{"answer": answer, "scores": own} for answer, own in zip(answers, scores, strict=True)]

    def gold_answers(self, predictions: Predictions) -> list[str]:
        """Return the right answer of each example as a text: as `answers` would, or as JSON."""
        gold = predictions.gold
        return [json.dumps(value) for value in (gold.tolist() if isinstance(gold, Tensor) else gold)]

    def right(self, predictions: Predictions) -> list[bool] | None:
        """Return of each answer whether it is right; None: answers of this kind are more or less so, as scores are."""
        return None

    def hides(self, value: Any) -> bool:
        """Return whether what stands in the place of a label is none: so test sets hide theirs.

        None, NaN, an empty text, and -1 where the task has no such label.
        """
        if is_missing(value):
            return True
        lowest = self.task.range[0] if self.task.range else 0.0
        return str(value) == "-1" and "-1" not in self.task.labels and lowest > -1

    def stand_in(self, row: Mapping[str, Any]) -> Any:
        """Return what stands in the column `label` of a row that has none; no prediction depends on it.

        Raises:
            UserError: this kind reads labelled rows alone.
        """
        raise UserError(f"kind {self.name}: rows without a label cannot be read")

    def write(self, predictions: Predictions, path: Path) -> None:
        """Write the answers, `index<TAB>prediction` in the order of the split, whole or not at all.

        An answer that holds a tab, a line end or a quotation mark is quoted, as the module `csv` does.
        """
        rows = sorted(zip(predictions.ids.tolist(), self.answers(predictions), strict=True))
        text = io.StringIO()
        csv.writer(text, delimiter="\t", lineterminator="\n").writerows([("index", "prediction"), *rows])
        write_text_atomic(path, text.getvalue())

    @abstractmethod
    def is_degenerate(self, predictions: Predictions) -> bool:
        """Return True when the model learnt nothing, such as one answer for all."""

    def strata(self, rows: Dataset) -> list[list[int]] | None:
        """Return the numbers of the rows of each class, of each of which k are drawn as shots; None: k of all rows.

        Raises:
            UserError: shots cannot be drawn for this kind.
        """
        return None

    @classmethod
    @abstractmethod
    def example(cls) -> KindExample:
        """Return a tiny example, by which the kind is tested without files."""

    @classmethod
    def unlearnt(cls) -> Predictions:
        """Return what a model that learnt nothing says of the example; by default the same of each row."""
        perfect = cls.example().predictions
        return replace(perfect, outputs=perfect.select([0] * len(perfect.ids)).outputs)


KINDS = Registry(TaskKind, "peftlab.tasks.kinds", "task.kind")  # type: ignore[type-abstract]


def kind_of(task: Task) -> TaskKind:
    """Return the kind of a task, made for it.

    Raises:
        UserError: there is no such kind, it has no such option, or the task's description does not fit it.
    """
    kind = build(KINDS.get(task.kind_name), {**task.options, "task": task}, "task.options")
    kind.check()
    return kind


def always_each(predictions: Predictions) -> list[Predictions]:
    """Return, for each column of outputs [N, C], the predictions that choose it for every example."""
    size = predictions.outputs.shape
    return [replace(predictions, outputs=one.expand(size)) for one in torch.eye(size[-1])]


def require_finite(outputs: Tensor) -> None:
    """Refuse outputs that are not finite.

    Raises:
        UserError: the training diverged.
    """
    finite = bool(outputs.isfinite().all())
    require(finite, "the predictions are not finite: training diverged; try a lower training.learning_rate")


def _of(values: Any, numbers: Sequence[int]) -> Any:
    return values[list(numbers)] if isinstance(values, Tensor) else [values[number] for number in numbers]


def _one_after_the_other(values: list[Any]) -> Any:
    return torch.cat(values) if isinstance(values[0], Tensor) else list(chain.from_iterable(values))
