"""Several answers: which of those that a question is offered are right, any number of them (MultiRC)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from datasets import Dataset, List, Value
from torch import Tensor
from torchmetrics.functional.classification import binary_f1_score

from peftlab.errors import require
from peftlab.inputs.encoder import Batch
from peftlab.output_layer import OutputLayer, classes
from peftlab.tasks.kind import KindExample, Metric, Predictions, TaskKind, require_finite
from peftlab.tasks.kinds.multiple_choice import MultipleChoice
from peftlab.tasks.task import Task

VERDICTS = ("wrong", "right")
_TRUTHS = {"0": 0, "1": 1, "False": 0, "True": 1}


def verdicts(predictions: Predictions) -> list[list[int]]:
    """Return for each answer of each question whether it is held to be right, 0 or 1."""
    return [found.argmax(-1).tolist() for found in predictions.outputs]


def f1_of_answers(predictions: Predictions) -> float:
    """Return F1a: the F1 score of the right ones among all answers of all questions, in [0, 1]."""
    found, gold = (torch.tensor([one for row in rows for one in row]) for rows in _rows(predictions))
    return binary_f1_score(found, gold).item()


def exact_match(predictions: Predictions) -> float:
    """Return the share of questions all of whose answers are judged as they are, in [0, 1]."""
    found, gold = _rows(predictions)
    return sum(one == other for one, other in zip(found, gold, strict=True)) / len(gold)


class SeveralAnswers(MultipleChoice):
    """Which of the answers of a question are right; each is read as `text_a` with question and answer (`choices`).

    An example is a question, `label` says of each answer 0 or 1, and each answer is judged by itself.
    """

    name = "several-answers"
    metrics: ClassVar = {"f1": Metric(f1_of_answers), "exact_match": Metric(exact_match)}
    columns: ClassVar = {**MultipleChoice.columns, "label": List(Value("int64"))}

    @property
    def output_layer(self) -> OutputLayer:
        """Two outputs for each sequence: wrong and right."""
        return classes(VERDICTS)

    def label(self, value: Any, spelt: Sequence[str] | None = None) -> list[int]:
        """Return 0 or 1 for each answer."""
        odd = [str(one) for one in value if str(one) not in _TRUTHS]
        require(not odd, f"label {''.join(odd[:1])!r}; allowed are {', '.join(_TRUTHS)}")
        return [_TRUTHS[str(one)] for one in value]

    def check_row(self, row: Mapping[str, Any]) -> None:
        """Refuse a question without answers."""
        require(len(row["choices"]) == len(row["label"]) > 0, "answers: none, or another number than of labels")

    def admit(self, rows: Dataset, split: str) -> Dataset:
        """Take any number of answers."""
        return TaskKind.admit(self, rows, split)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean cross-entropy over answers, in float32."""
        gold = torch.tensor([label for row in batch["rows"] for label in row["label"]], device=outputs.logits.device)
        return F.cross_entropy(outputs.logits.float(), gold)

    def predict(self, outputs: Any, batch: Batch) -> Predictions:
        """Return the outputs of all answers to B questions, [A, 2] each, with what is right."""
        found = outputs.logits.detach().float().cpu().split(batch["sequences"].tolist())
        return Predictions(batch["index"].cpu(), list(found), [row["label"] for row in batch["rows"]])

    def score(self, predictions: Predictions) -> dict[str, float]:
        """Return the task's metrics, the primary one first; raises UserError where the training diverged."""
        require_finite(torch.cat(predictions.outputs))
        return TaskKind.score(self, predictions)

    def constant_answers(self, predictions: Predictions) -> list[Predictions]:
        """Return the predictions that call all answers wrong, and those that call all right."""
        sizes = [found.shape for found in predictions.outputs]
        return [replace(predictions, outputs=[one.expand(size) for size in sizes]) for one in torch.eye(2)]

    def answers(self, predictions: Predictions) -> list[str]:
        """Return the places of the right answers, counted from 0, with blanks between them."""
        return [" ".join(str(place) for place, one in enumerate(row) if one) for row in verdicts(predictions)]

    def scores(self, predictions: Predictions) -> list[list[float]]:
        """Return how probable it is of each answer that it is right."""
        return [found.softmax(-1)[:, 1].tolist() for found in predictions.outputs]

    def details(self, predictions: Predictions, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the places of the right answers to each question, and how probable each is."""
        found = zip(verdicts(predictions), self.scores(predictions), strict=True)
        return [
            {"right": [place for place, one in enumerate(judged) if one], "probabilities": shares}
            for judged, shares in found
        ]

    def right(self, predictions: Predictions) -> list[bool]:
        """Return whether all answers to a question are judged as they are."""
        return [one == other for one, other in zip(*_rows(predictions), strict=True)]

    def stand_in(self, row: Mapping[str, Any]) -> list[int]:
        """Return that all answers are wrong."""
        return [0] * len(row["choices"])

    def is_degenerate(self, predictions: Predictions) -> bool:
        """Return True where all answers are right, or all wrong."""
        return len({one for row in verdicts(predictions) for one in row}) == 1

    @classmethod
    def example(cls) -> KindExample:
        """Return four questions with two or three answers each."""
        task = Task("example", list(cls.metrics), kind=cls.name, generator="none")
        asked = [
            ("ann and bob sang.", "who sang?", {"ann": 1, "bob": 1, "carl": 0}),
            ("a dog slept in the barn.", "where?", {"in the house": 0, "in the barn": 1}),
            ("it rained, and nobody went out.", "who went out?", {"ann": 0, "nobody": 1}),
            ("she ate bread and cheese.", "what did she eat?", {"stones": 0, "bread": 1, "cheese": 1}),
        ]
        labels = [list(answers.values()) for *_, answers in asked]
        rows = {
            "text_a": [passage for passage, *_ in asked],
            "choices": [[f"{question} {answer}" for answer in answers] for _, question, answers in asked],
            "label": labels,
        }
        perfect = [F.one_hot(torch.tensor(row), 2).float() for row in labels]
        return KindExample(cls(task), Dataset.from_dict(rows), Predictions(torch.arange(4), perfect, labels))

    @classmethod
    def unlearnt(cls) -> Predictions:
        """Hold all answers to be wrong."""
        perfect = cls.example().predictions
        wrong = [torch.tensor([1.0, 0.0]).expand(len(row), 2) for row in perfect.gold]
        return Predictions(perfect.ids, wrong, perfect.gold)


def _rows(predictions: Predictions) -> tuple[list[list[int]], list[list[int]]]:
    return verdicts(predictions), [list(row) for row in predictions.gold]
