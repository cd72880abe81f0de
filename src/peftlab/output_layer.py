"""What stands on top of a backbone for a task: the class of transformers that brings it, and its options."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from peftlab.errors import require
from peftlab.options.schema import build

SEQUENCE_CLASSIFICATION = "AutoModelForSequenceClassification"
MULTIPLE_CHOICE = "AutoModelForMultipleChoice"
TOKEN_CLASSIFICATION = "AutoModelForTokenClassification"
QUESTION_ANSWERING = "AutoModelForQuestionAnswering"
IMAGE_CLASSIFICATION = "AutoModelForImageClassification"
# Those that say something of each token, and not of the text alone.
PER_TOKEN = (TOKEN_CLASSIFICATION, QUESTION_ANSWERING)
OPTIONS = ("num_labels", "id2label", "label2id", "problem_type")


@dataclass(frozen=True)
class OutputLayer:
    """The output layer of a task, as `delta.json` keeps it.

    Attributes:
        auto_class: the name of transformers' class that puts such a layer on any backbone.
        options: entries of the model's config that give its size and meaning.
    """

    auto_class: str = SEQUENCE_CLASSIFICATION
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # A delta that somebody sends names both: neither may reach into other parts of transformers.
        known = re.fullmatch("AutoModelFor[A-Za-z]+", self.auto_class)
        require(
            known is not None,
            f"output.auto_class={self.auto_class}: allowed is a class AutoModelFor... of transformers",
        )
        for name in self.options:
            require(name in OPTIONS, f"output.options.{name}: no such option; allowed are {', '.join(OPTIONS)}")


def read_output_layer(facts: Mapping[str, Any]) -> OutputLayer:
    """Return the layer that JSON holds, whose keys are all texts.

    Raises:
        UserError: it is none that a kind of task could have asked for.
    """
    output = build(OutputLayer, facts, "output")
    names = output.options.get("id2label", {})
    whole = isinstance(names, Mapping) and all(str(key).isdecimal() for key in names)
    require(whole, f"output.options.id2label={names}: allowed is a table of names by their numbers")
    numbered = {"id2label": {int(key): name for key, name in names.items()}} if names else {}
    return OutputLayer(output.auto_class, {**output.options, **numbered})


def classes(labels: Sequence[str]) -> OutputLayer:
    """Return a layer with one output for each of `labels`, in their order."""
    return OutputLayer(options=_named(labels, "single_label_classification"))


def image_classes(labels: Sequence[str]) -> OutputLayer:
    """Return a layer with one output for each of `labels`, on a model that reads images."""
    return OutputLayer(IMAGE_CLASSIFICATION, _named(labels, "single_label_classification"))


def score() -> OutputLayer:
    """Return a layer with one output, a number that is trained with squared error."""
    return OutputLayer(options=_named(["score"], "regression"))


def choice() -> OutputLayer:
    """Return a layer with one output a sequence, how good the choice in it is."""
    return OutputLayer(MULTIPLE_CHOICE)


def tags(labels: Sequence[str]) -> OutputLayer:
    """Return a layer with one output for each of `labels` at each token."""
    return OutputLayer(TOKEN_CLASSIFICATION, _named(labels))


def spans() -> OutputLayer:
    """Return a layer with two outputs at each token: that an answer begins, and ends, there."""
    return OutputLayer(QUESTION_ANSWERING, {"num_labels": 2})


def _named(names: Sequence[str], problem: str | None = None) -> dict[str, Any]:
    found = {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
    }
    return {**found, "problem_type": problem} if problem else found
