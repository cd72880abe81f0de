"""What kinds of task have in common whose example is a sentence or a pair, with one label and one row of outputs."""

from typing import Any

from datasets import Value
from torch import Tensor

from peftlab.errors import require
from peftlab.inputs.encoder import Batch
from peftlab.tasks.kind import Predictions, TaskKind, require_finite

TEXTS = {"text_a": Value("string"), "text_b": Value("string")}
LABELS_OR_RANGE = "give either labels (two or more) or a range of scores"

# Scores that differ by less than this share of their size carry no ranking, only rounding.
_CONSTANT = 1e-6


class SentenceKind(TaskKind):
    """One label and one row of `logits` for a sentence (`text_a`) or a pair (`text_a`, `text_b`)."""

    def check(self) -> None:
        """Refuse a source that names no column of text, or more than two."""
        super().check()
        for key, source in self.task.sources.items():
            where = f"task={self.task.name}: {key}.text={source.text}"
            named = len(source.text) in (1, 2) or source.form is not None
            require(named, f"{where}: allowed are one or two column names")

    def predict(self, outputs: Any, batch: Batch) -> Predictions:
        """Return logits in float32 [B, C] with the labels [B]."""
        logits = outputs.logits.detach().float()
        return Predictions(batch["index"].cpu(), logits.cpu(), batch["labels"].cpu())

    def score(self, predictions: Predictions) -> dict[str, float]:
        """Return the task's metrics, the primary one first.

        Raises:
            UserError: outputs that are not finite: the training diverged.
        """
        require_finite(predictions.outputs)
        return super().score(predictions)


def is_constant(values: Tensor) -> bool:
    """Return True when all values [N] are the same but for rounding."""
    spread = (values.max() - values.min()).item()
    return spread <= _CONSTANT * max(1.0, values.abs().max().item())
