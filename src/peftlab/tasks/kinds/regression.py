"""Regression: a score in the task's range for each example."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NoReturn

import torch
import torch.nn.functional as F
from datasets import Dataset, Value
from torch import Tensor
from torchmetrics.functional.regression import pearson_corrcoef, spearman_corrcoef

from peftlab.errors import UserError, require
from peftlab.inputs.encoder import Batch
from peftlab.output_layer import OutputLayer, score
from peftlab.tasks.kind import KindExample, Metric, Predictions
from peftlab.tasks.sentences import LABELS_OR_RANGE, TEXTS, SentenceKind, is_constant
from peftlab.tasks.task import Task


def scores(predictions: Predictions) -> Tensor:
    """Return the predicted scores, float64 [N]."""
    return predictions.outputs.double().reshape(len(predictions.outputs))


def correlation(function: Callable[[Tensor, Tensor], Tensor]) -> Metric:
    """Return a metric in [-1, 1]; it is 0 where all scores are the same, which correlate with nothing.

    It is NaN where all gold scores are the same: there is nothing to correlate with.
    """

    def value(predictions: Predictions) -> float:
        found, gold = scores(predictions), predictions.gold
        if is_constant(gold):
            return math.nan
        return 0.0 if is_constant(found) else torch.clamp(function(found, gold.double()), -1.0, 1.0).item()

    return Metric(value)


def mse(predictions: Predictions) -> float:
    """Return the mean squared error of the scores, which is 0 or more."""
    return F.mse_loss(scores(predictions), predictions.gold.double()).item()


class Regression(SentenceKind):
    """The score of a sentence or a pair."""

    name = "regression"
    metrics: ClassVar = {
        "spearman": correlation(spearman_corrcoef),
        "pearson": correlation(pearson_corrcoef),
        "mse": Metric(mse, better="lower", unit=""),
    }
    columns: ClassVar = {**TEXTS, "label": Value("float32")}

    def check(self) -> None:
        """Refuse labels, and a range that is none."""
        found, where = self.task.range, f"task={self.task.name}"
        require(not self.task.labels and found is not None, f"{where}: {LABELS_OR_RANGE}")
        assert found is not None
        require(len(found) == 2 and found[0] < found[1], f"{where}: range={found} must be [lowest, highest]")
        super().check()

    @property
    def output_layer(self) -> OutputLayer:
        """One output, the score."""
        return score()

    def label(self, value: Any, spelt: Sequence[str] | None = None) -> float:
        """Return a score that lies in the task's range."""
        lowest, highest = self._range
        try:
            found = float(value)
        except (TypeError, ValueError):
            found = math.nan
        require(lowest <= found <= highest, f"score {value!r}; allowed are numbers from {lowest} to {highest}")
        return found

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean squared error of the one output [B, 1], in float32."""
        return F.mse_loss(outputs.logits.float().squeeze(-1), batch["labels"].float())

    def answers(self, predictions: Predictions) -> list[str]:
        """Return the scores, kept inside the task's range, with three decimals."""
        lowest, highest = self._range
        return [f"{value:.3f}" for value in scores(predictions).clamp(lowest, highest).tolist()]

    def details(self, predictions: Predictions, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the score of each example, kept inside the task's range."""
        return [{"score": float(answer)} for answer in self.answers(predictions)]

    def stand_in(self, row: Mapping[str, Any]) -> float:
        """Return the lowest score."""
        return self._range[0]

    def is_degenerate(self, predictions: Predictions) -> bool:
        """Return True for one score for everything."""
        return is_constant(scores(predictions))

    def strata(self, rows: Dataset) -> NoReturn:
        """Refuse shots: how many of which scores they would hold, nobody has laid down."""
        raise UserError("a regression task (such as stsb) has no classes to draw from")

    @classmethod
    def example(cls) -> KindExample:
        """Return four sentences with scores from 0 to 5."""
        task = Task("example", list(cls.metrics), range=[0.0, 5.0], kind=cls.name, generator="none")
        texts = ["a bird sang", "a bird sang loudly", "no dog slept in the garden", "a dog slept"]
        gold = torch.tensor([4.5, 0.0, 2.25, 3.0])
        rows = Dataset.from_dict({"text_a": texts, "label": gold.tolist()})
        return KindExample(cls(task), rows, Predictions(torch.arange(4), gold[:, None], gold))

    @property
    def _range(self) -> tuple[float, float]:
        assert self.task.range is not None
        lowest, highest = self.task.range
        return lowest, highest
