"""A kind of task of a user's own, in one file: classes that have an order (Frank & Hall 2001), a question a threshold.

Scored by the mean absolute error, of which less is better. `--config-dir` names the folder with `task/reviews.yaml`,
`plugins=[my_ordinal_kind]` this file.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from peftlab.output_layer import OutputLayer, classes
from peftlab.tasks.kind import KindExample, Metric, Predictions
from peftlab.tasks.kinds.classification import Classification


def mean_absolute_error(predictions):
    """Return by how many classes answers are off, on average."""
    return (_passed(predictions.outputs) - predictions.gold).abs().double().mean().item()


@dataclass(frozen=True)
class Ordinal(Classification):
    """Each output says whether the class lies above a threshold."""

    name = "ordinal"
    metrics: ClassVar = {"mae": Metric(mean_absolute_error, better="lower", unit="")}

    sharpness: float = 1.0

    @property
    def output_layer(self):
        options = classes(self.task.labels[1:]).options
        return OutputLayer(options={**options, "problem_type": "multi_label_classification"})

    def loss(self, outputs, batch):
        thresholds = torch.arange(outputs.logits.shape[-1], device=outputs.logits.device)
        above = (batch["labels"][:, None] > thresholds).float()
        return F.binary_cross_entropy_with_logits(self.sharpness * outputs.logits.float(), above)

    def answers(self, predictions):
        return [self.task.labels[index] for index in _passed(predictions.outputs).tolist()]

    def is_degenerate(self, predictions):
        return len(_passed(predictions.outputs).unique()) == 1

    @classmethod
    def example(cls):
        kind, rows, perfect = super().example()
        outputs = 2.0 * perfect.gold[:, None] - 1.0
        return KindExample(kind, rows, Predictions(perfect.ids, outputs, perfect.gold))


def _passed(outputs):
    return (outputs > 0).sum(-1)
