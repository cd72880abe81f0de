"""What stands on top of a backbone for a task: the class of transformers that brings it, and its options."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SEQUENCE_CLASSIFICATION = "AutoModelForSequenceClassification"


@dataclass(frozen=True)
class OutputLayer:
    """The output layer of a task, as `delta.json` keeps it.

    Attributes:
        auto_class: the name of transformers' class that puts such a layer on any backbone.
        options: entries of the model's config that give its size and meaning.
    """

    auto_class: str = SEQUENCE_CLASSIFICATION
    options: dict[str, Any] = field(default_factory=dict)


def classes(labels: Sequence[str]) -> OutputLayer:
    """Return a layer with one output for each of `labels`, in their order."""
    return OutputLayer(options=_named(labels, "single_label_classification"))


def score() -> OutputLayer:
    """Return a layer with one output, a number that is trained with squared error."""
    return OutputLayer(options=_named(["score"], "regression"))


def _named(names: Sequence[str], problem: str) -> dict[str, Any]:
    return {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
        "problem_type": problem,
    }
