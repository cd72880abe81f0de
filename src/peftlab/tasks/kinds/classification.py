"""Classification: one of the task's labels for each example."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from datasets import Dataset, Value
from torch import Tensor
from torchmetrics.functional.classification import (
    binary_f1_score,
    multiclass_accuracy,
    multiclass_f1_score,
    multiclass_matthews_corrcoef,
    multiclass_recall,
)

from peftlab.errors import require
from peftlab.inputs.encoder import Batch
from peftlab.output_layer import OutputLayer, classes
from peftlab.tasks.kind import KindExample, Metric, Predictions, always_each
from peftlab.tasks.sentences import LABELS_OR_RANGE, TEXTS, SentenceKind, is_constant
from peftlab.tasks.task import FileSource, Task


def chosen(predictions: Predictions) -> Tensor:
    """Return the class with the largest output of each example, int64 [N]."""
    return predictions.outputs.argmax(dim=-1)


def accuracy(predictions: Predictions) -> float:
    """Return the share of right answers, in [0, 1]."""
    number = predictions.outputs.shape[-1]
    return multiclass_accuracy(chosen(predictions), predictions.gold, number, average="micro").item()


def f1(predictions: Predictions) -> float:
    """Return the F1 score of the second of two labels, in [0, 1]; NaN where no example has it."""
    gold = predictions.gold
    return binary_f1_score(chosen(predictions), gold).item() if gold.any() else math.nan


def macro_f1(predictions: Predictions) -> float:
    """Return the mean over labels of their F1 scores, in [0, 1]; a label that is neither gold nor chosen is no part."""
    number = predictions.outputs.shape[-1]
    return multiclass_f1_score(chosen(predictions), predictions.gold, number, average="macro").item()


def accuracy_with_macro_f1(predictions: Predictions) -> float:
    """Return the mean of accuracy and macro F1, in [0, 1]: what SuperGLUE ranks CommitmentBank by."""
    return (accuracy(predictions) + macro_f1(predictions)) / 2


def balanced_accuracy(predictions: Predictions) -> float:
    """Return the mean over the gold labels of the share that was found of each, in [0, 1]."""
    found, gold = chosen(predictions), predictions.gold
    recalls = multiclass_recall(found, gold, predictions.outputs.shape[-1], average="none")
    return recalls[gold.unique()].mean().item()


def matthews(predictions: Predictions) -> float:
    """Return Matthews' correlation, in [-1, 1]; 0 where all answers are the same, which correlate with nothing.

    NaN where all examples have one label: there is nothing to correlate with.
    """
    found, number = chosen(predictions), predictions.outputs.shape[-1]
    if is_constant(predictions.gold):
        return math.nan
    return 0.0 if is_constant(found) else multiclass_matthews_corrcoef(found, predictions.gold, number).item()


class Classification(SentenceKind):
    """The label of a sentence or a pair; `label` is its place among the task's labels."""

    name = "classification"
    metrics: ClassVar = {
        "accuracy": Metric(accuracy),
        "f1": Metric(f1),
        "matthews": Metric(matthews),
        "macro_f1": Metric(macro_f1),
        "balanced_accuracy": Metric(balanced_accuracy),
        "accuracy_with_macro_f1": Metric(accuracy_with_macro_f1),
    }
    recorded_besides: ClassVar = ("balanced_accuracy",)
    columns: ClassVar = {**TEXTS, "label": Value("int64")}

    def check(self) -> None:
        """Refuse fewer than two labels, one that is there twice, and a range of scores."""
        task, where = self.task, f"task={self.task.name}"
        require(len(task.labels) > 1 and task.range is None, f"{where}: {LABELS_OR_RANGE}")
        require(len(set(task.labels)) == len(task.labels), f"{where}: labels={task.labels} holds a label twice")
        super().check()
        binary = "f1" not in task.metrics or len(task.labels) == 2
        require(binary, f"{where}: metrics=f1 is that of the second of two labels; there are {len(task.labels)}")
        for key, source in task.sources.items():
            spelt = source.labels if isinstance(source, FileSource) else None
            same = spelt is None or len(spelt) == len(task.labels)
            require(same, f"{where}: {key}.labels={spelt}: allowed is one text for each of {task.labels}")

    @property
    def output_layer(self) -> OutputLayer:
        """One output for each label."""
        return classes(self.task.labels)

    def label(self, value: Any, spelt: Sequence[str] | None = None) -> int:
        """Return the place of a label among the task's."""
        text, allowed = str(value), spelt or self.task.labels
        require(text in allowed, f"label {text!r}; allowed are {', '.join(allowed)}")
        return allowed.index(text)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean cross-entropy of logits [B, C], in float32."""
        return F.cross_entropy(outputs.logits.float(), batch["labels"])

    def constant_answers(self, predictions: Predictions) -> list[Predictions]:
        """Return the predictions that choose one label for everything; of outputs that are no labels' nothing."""
        return always_each(predictions) if self._gives_labels(predictions) else []

    def answers(self, predictions: Predictions) -> list[str]:
        """Return the chosen labels."""
        return [self.task.labels[index] for index in chosen(predictions).tolist()]

    def scores(self, predictions: Predictions) -> list[list[float]]:
        """Return how probable each label is; of a kind made of this one whose outputs are no labels', the outputs."""
        if not self._gives_labels(predictions):
            return super().scores(predictions)
        shares: list[list[float]] = predictions.outputs.softmax(-1).tolist()
        return shares

    def details(self, predictions: Predictions, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the label of each example, and how probable each label is."""
        if not self._gives_labels(predictions):
            return super().details(predictions, rows)
        found = zip(self.answers(predictions), self.scores(predictions), strict=True)
        return [
            {"label": answer, "probabilities": dict(zip(self.task.labels, shares, strict=True))}
            for answer, shares in found
        ]

    def gold_answers(self, predictions: Predictions) -> list[str]:
        """Return the right labels."""
        return [self.task.labels[index] for index in predictions.gold.tolist()]

    def right(self, predictions: Predictions) -> list[bool]:
        """Return whether the chosen label is the right one."""
        return [a == b for a, b in zip(self.answers(predictions), self.gold_answers(predictions), strict=True)]

    def stand_in(self, row: Mapping[str, Any]) -> int:
        """Return the first label."""
        return 0

    def is_degenerate(self, predictions: Predictions) -> bool:
        """Return True for one answer to everything, or Matthews 0 where it is a metric."""
        if is_constant(chosen(predictions)):
            return True
        return "matthews" in self.task.metrics and matthews(predictions) == 0

    def strata(self, rows: Dataset) -> list[list[int]]:
        """Return the rows of each label."""
        found: list[list[int]] = [[] for _ in self.task.labels]
        for row, label in enumerate(rows["label"][:]):
            found[label].append(row)
        return found

    def _gives_labels(self, predictions: Predictions) -> bool:
        return predictions.outputs.shape[-1] == len(self.task.labels)

    @classmethod
    def example(cls) -> KindExample:
        """Return four sentences, two of each label."""
        task = Task("example", list(cls.metrics), ["no", "yes"], kind=cls.name, generator="none")
        texts = ["no bird sang", "a bird sang", "a dog slept in the garden", "no dog slept"]
        labels = [0, 1, 1, 0]
        rows = Dataset.from_dict({"text_a": texts, "label": labels})
        gold = torch.tensor(labels)
        return KindExample(cls(task), rows, Predictions(torch.arange(4), F.one_hot(gold, 2).float(), gold))
