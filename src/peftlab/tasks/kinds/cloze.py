"""Cloze: which of a passage's names belongs into a query's gap (ReCoRD)."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from datasets import Dataset, List, Value
from torch import Tensor

from peftlab.errors import require
from peftlab.inputs.encoder import Batch
from peftlab.tasks.answer_texts import best_of, exact_match, f1
from peftlab.tasks.kind import KindExample, Metric, Predictions, TaskKind, require_finite
from peftlab.tasks.kinds.multiple_choice import MultipleChoice, scores_by_example
from peftlab.tasks.task import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Named:
    """The names that one query is offered, and the score of each, float32 [C]."""

    names: Sequence[str]
    scores: Tensor

    @property
    def best(self) -> str:
        """The name with the highest score."""
        return self.names[int(self.scores.argmax())]


def over_queries(rule: Callable[[str, str], float]) -> Metric:
    """Return the mean over queries of a rule's value against the right name that suits best, in [0, 1]."""

    def mean(predictions: Predictions) -> float:
        pairs = zip(predictions.outputs, predictions.gold, strict=True)
        return sum(best_of(rule, found.best, gold) for found, gold in pairs) / len(predictions.gold)

    return Metric(mean)


class Cloze(MultipleChoice):
    """One of any number of `names`, each read as `text_a` with the query that it fills (`choices`).

    `label` holds all names that are right; the loss is what the softmax over names leaves to the others. Scores are
    those of ReCoRD's script, which are SQuAD 1.1's.
    """

    name = "cloze"
    metrics: ClassVar = {"f1": over_queries(f1), "exact_match": over_queries(exact_match)}
    columns: ClassVar = {**MultipleChoice.columns, "names": List(Value("string")), "label": List(Value("string"))}

    def label(self, value: Any, spelt: Sequence[str] | None = None) -> list[str]:
        """Return the names that are right."""
        require(isinstance(value, list) and all(isinstance(name, str) for name in value), "answers: must be texts")
        return list(value)

    def check_row(self, row: Mapping[str, Any]) -> None:
        """Refuse a query without names, and without a right one."""
        require(len(row["names"]) == len(row["choices"]) > 0, "entities: none, or another number than of choices")
        require(bool(row["label"]), "query without an answer")

    def admit(self, rows: Dataset, split: str) -> Dataset:
        """Leave out training queries of which no right answer is among the names; say how many."""
        rows = TaskKind.admit(self, rows, split)
        pairs = zip(rows["names"][:], rows["label"][:], strict=True)
        kept = [number for number, (names, right) in enumerate(pairs) if split != "train" or set(names) & set(right)]
        if len(kept) == len(rows):
            return rows
        where, skipped = f"task={self.task.name}, {split}", len(rows) - len(kept)
        log.warning("%s: %d of %d queries are skipped: no answer is among the entities", where, skipped, len(rows))
        require(bool(kept), f"{where}: no answer is among the entities")
        return rows.select(kept)

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean over queries of -log of the share of the right names, in float32."""
        losses = []
        for scores, row in zip(scores_by_example(outputs, batch), batch["rows"], strict=True):
            right = torch.tensor([name in row["label"] for name in row["names"]], device=scores.device)
            # A query without a right name, as there are in validation, asks for nothing.
            losses.append(scores.logsumexp(0) - scores[right].logsumexp(0) if right.any() else scores.sum() * 0)
        return torch.stack(losses).mean()

    def predict(self, outputs: Any, batch: Batch) -> Predictions:
        """Return the scores of all names of B queries with the right ones."""
        scores = [part.detach().cpu() for part in scores_by_example(outputs, batch)]
        found = [Named(row["names"], part) for row, part in zip(batch["rows"], scores, strict=True)]
        return Predictions(batch["index"].cpu(), found, [row["label"] for row in batch["rows"]])

    def score(self, predictions: Predictions) -> dict[str, float]:
        """Return the task's metrics, the primary one first; raises UserError where the training diverged."""
        require_finite(torch.cat([found.scores for found in predictions.outputs]))
        return TaskKind.score(self, predictions)

    def constant_answers(self, predictions: Predictions) -> list[Predictions]:
        """Return nothing: no answer fits every example."""
        return []

    def answers(self, predictions: Predictions) -> list[str]:
        """Return the chosen names."""
        return [found.best for found in predictions.outputs]

    def scores(self, predictions: Predictions) -> list[list[float]]:
        """Return how probable each name is."""
        return [found.scores.softmax(-1).tolist() for found in predictions.outputs]

    def details(self, predictions: Predictions, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the name chosen for each query, all its names, and how probable each is."""
        found = zip(predictions.outputs, self.scores(predictions), strict=True)
        return [{"name": one.best, "names": list(one.names), "probabilities": shares} for one, shares in found]

    def right(self, predictions: Predictions) -> list[bool]:
        """Return whether the chosen name is one of the right ones, by the rule of the exact match."""
        pairs = zip(predictions.outputs, predictions.gold, strict=True)
        return [best_of(exact_match, found.best, gold) == 1 for found, gold in pairs]

    def stand_in(self, row: Mapping[str, Any]) -> list[str]:
        """Return the first name."""
        return list(row["names"][:1])

    def is_degenerate(self, predictions: Predictions) -> bool:
        """Return True where all queries' first names are chosen, or all their last."""
        places = [int(found.scores.argmax()) for found in predictions.outputs]
        last = [len(found.names) - 1 for found in predictions.outputs]
        return not any(places) or places == last

    @classmethod
    def example(cls) -> KindExample:
        """Return four queries with two to four names; one has two right ones."""
        task = Task("example", list(cls.metrics), kind=cls.name, generator="none")
        asked = [
            ("ann met bob in rome.", "{} lives in italy.", ["ann", "bob", "rome"], ["bob"]),
            ("oslo is cold, rome is not.", "{} is in the north.", ["oslo", "rome"], ["oslo"]),
            ("bob lee sang, said ann.", "{} is a singer.", ["ann", "bob lee", "bob"], ["bob lee", "bob"]),
            ("ann, bob, carl and dora ate.", "{} is a cook.", ["ann", "bob", "carl", "dora"], ["carl"]),
        ]
        rows = {
            "text_a": [passage for passage, *_ in asked],
            "choices": [[query.format(name) for name in names] for _, query, names, _ in asked],
            "names": [names for *_, names, _ in asked],
            "label": [right for *_, right in asked],
        }
        perfect = [Named(names, torch.tensor([float(name in right) for name in names])) for *_, names, right in asked]
        return KindExample(cls(task), Dataset.from_dict(rows), Predictions(torch.arange(4), perfect, rows["label"]))

    @classmethod
    def unlearnt(cls) -> Predictions:
        """Return the first name of each query."""
        perfect = cls.example().predictions
        first = [Named(found.names, -torch.arange(len(found.names)).float()) for found in perfect.outputs]
        return Predictions(perfect.ids, first, perfect.gold)
