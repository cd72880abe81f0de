"""Multiple choice: which of the texts that are offered goes with another one."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from datasets import Dataset, List, Value
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from peftlab.errors import UserError, require
from peftlab.inputs.encoder import Batch, Encoder, Split
from peftlab.inputs.layouts import Choices
from peftlab.inputs.text import text_encoder
from peftlab.output_layer import OutputLayer, choice
from peftlab.tasks.kind import KindExample, Metric, Predictions, TaskKind, always_each, require_finite
from peftlab.tasks.sentences import is_constant
from peftlab.tasks.task import Task


def chosen(predictions: Predictions) -> Tensor:
    """Return the choice with the largest output of each example, int64 [N]."""
    return predictions.outputs.argmax(dim=-1)


def accuracy(predictions: Predictions) -> float:
    """Return the share of right answers, in [0, 1]."""
    return (chosen(predictions) == predictions.gold).float().mean().item()


def scores_by_example(outputs: Any, batch: Batch) -> tuple[Tensor, ...]:
    """Return the outputs of each example's choices, float32 [C], whose number may differ."""
    found: tuple[Tensor, ...] = outputs.logits.float().flatten().split(batch["sequences"].tolist())
    return found


class MultipleChoice(TaskKind):
    """One of C `choices`, each read as a pair with `text_a`; `label` is the place of the right one.

    A batch of B examples is B * C sequences, each of which gets one score; the softmax is over an example's choices
    (Zellers et al., 2018; `run_swag.py` of transformers).
    """

    name = "multiple-choice"
    metrics: ClassVar = {"accuracy": Metric(accuracy)}
    form = "choices"
    columns: ClassVar = {
        "id": Value("string"),
        "text_a": Value("string"),
        "choices": List(Value("string")),
        "label": Value("int64"),
    }

    def check(self) -> None:
        """Refuse labels: each example brings its own choices."""
        super().check()
        none = not self.task.labels and self.task.range is None
        require(
            none, f"task={self.task.name}: labels and range do not go with multiple choice, whose answers are places"
        )

    @property
    def output_layer(self) -> OutputLayer:
        """One output for each sequence."""
        return choice()

    def label(self, value: Any, spelt: Sequence[str] | None = None) -> Any:
        """Return the place of the right choice, counted from 0."""
        text, allowed = str(value), spelt
        if allowed is not None:
            require(text in allowed, f"label {text!r}; allowed are {', '.join(allowed)}")
            return allowed.index(text)
        require(text.isdecimal(), f"label {text!r}; allowed is the place of the right choice, counted from 0")
        return int(text)

    def check_row(self, row: Mapping[str, Any]) -> None:
        """Refuse fewer than two choices, an empty one, and a label that is the place of none."""
        number, label = len(row["choices"]), row["label"]
        require(number > 1, f"choices: {number}; allowed are two or more")
        require(all(text is not None and text.strip() for text in row["choices"]), "choices: one of them is empty")
        require(0 <= label < number, f"label {label}; allowed are 0 to {number - 1}, the places of the choices")

    def admit(self, rows: Dataset, split: str) -> Dataset:
        """Refuse choices of different number."""
        numbers = [len(choices) for choices in rows["choices"][:]]
        odd = next((place for place, number in enumerate(numbers) if number != numbers[0]), None)
        if odd is not None:
            where = f"task={self.task.name}, {split}"
            raise UserError(f"{where}: example {odd} has {numbers[odd]} choices, those before it {numbers[0]}")
        return super().admit(rows, split)

    def encode(self, rows: Dataset, encoder: Encoder) -> Split:
        """Return a sequence for each choice of each row."""
        return text_encoder(encoder).arrange(rows, Choices())

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean cross-entropy over each example's choices, in float32."""
        scores = pad_sequence(list(scores_by_example(outputs, batch)), batch_first=True, padding_value=-torch.inf)
        gold = torch.tensor([row["label"] for row in batch["rows"]], device=scores.device)
        return F.cross_entropy(scores, gold)

    def predict(self, outputs: Any, batch: Batch) -> Predictions:
        """Return the scores of the choices [B, C] with the places of the right ones [B]."""
        scores = torch.stack(scores_by_example(outputs, batch)).detach().cpu()
        return Predictions(batch["index"].cpu(), scores, torch.tensor([row["label"] for row in batch["rows"]]))

    def score(self, predictions: Predictions) -> dict[str, float]:
        """Return the task's metrics, the primary one first; raises UserError where the training diverged."""
        require_finite(predictions.outputs)
        return super().score(predictions)

    def constant_answers(self, predictions: Predictions) -> list[Predictions]:
        """Return the predictions that choose the same place among the choices of everything."""
        return always_each(predictions)

    def answers(self, predictions: Predictions) -> list[str]:
        """Return the places of the chosen ones."""
        return [str(place) for place in chosen(predictions).tolist()]

    def scores(self, predictions: Predictions) -> list[list[float]]:
        """Return how probable each choice is."""
        shares: list[list[float]] = predictions.outputs.softmax(-1).tolist()
        return shares

    def details(self, predictions: Predictions, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the place and the text of the chosen one of each example, and how probable each choice is."""
        found = zip(chosen(predictions).tolist(), self.scores(predictions), rows, strict=True)
        return [
            {"choice": place, "text": row["choices"][place], "probabilities": shares} for place, shares, row in found
        ]

    def right(self, predictions: Predictions) -> list[bool]:
        """Return whether the right one is chosen."""
        found: list[bool] = (chosen(predictions) == predictions.gold).tolist()
        return found

    def stand_in(self, row: Mapping[str, Any]) -> Any:
        """Return the place of the first choice."""
        return 0

    def is_degenerate(self, predictions: Predictions) -> bool:
        """Return True where the same place is chosen for all, whatever stands there."""
        return is_constant(chosen(predictions))

    @classmethod
    def example(cls) -> KindExample:
        """Return four beginnings, each with three ends."""
        task = Task("example", list(cls.metrics), kind=cls.name, generator="none")
        begun = ["a bird", "the dog was tired so", "rain fell and", "she sang"]
        choices = [
            ["sang in the garden", "was a stone", "ran a bank"],
            ["it was green", "it slept", "it flew away over the hill"],
            ["the sun was hot", "nobody got wet", "the streets were wet"],
            ["a song", "a table", "of"],
        ]
        labels = [0, 1, 2, 0]
        rows = Dataset.from_dict({"text_a": begun, "choices": choices, "label": labels})
        gold = torch.tensor(labels)
        return KindExample(cls(task), rows, Predictions(torch.arange(4), F.one_hot(gold, 3).float(), gold))
