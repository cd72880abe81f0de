"""How well a task's labels are predicted."""

from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics.functional.classification import binary_f1_score, multiclass_accuracy, multiclass_matthews_corrcoef
from torchmetrics.functional.regression import pearson_corrcoef, spearman_corrcoef

from peftlab.errors import require
from peftlab.tasks.task import Task

# Scores that differ by less than this share of their size carry no ranking, only rounding.
CONSTANT = 1e-6


def evaluate(task: Task, predictions: Tensor, labels: Tensor) -> dict[str, float]:
    """Return the task's metrics in [-1, 1], the primary one first.

    Constant predictions have no correlation with anything: Matthews, Spearman and Pearson are then 0.0.

    Args:
        task: names the metrics.
        predictions: logits [N, C] or class ids [N]; for a regression scores [N] or [N, 1].
        labels: class ids or scores [N].

    Raises:
        UserError: predictions that are not finite: the training diverged.
    """
    found, labels = _predicted(task, predictions), labels.detach().cpu()
    if found.shape != labels.shape:
        raise ValueError(f"predictions {tuple(predictions.shape)} and labels {tuple(labels.shape)} do not fit")
    return {metric: _METRICS[metric](found, labels, task.num_labels) for metric in task.metrics}


def is_collapsed(task: Task, predictions: Tensor, labels: Tensor) -> bool:
    """Return True when the model learnt nothing: one answer for all, or Matthews 0 where it is a metric."""
    found = _predicted(task, predictions)
    return _is_constant(found) or ("matthews" in task.metrics and evaluate(task, predictions, labels)["matthews"] == 0)


def _predicted(task: Task, predictions: Tensor) -> Tensor:
    """Return class ids [N] (int64) or scores [N] (float64)."""
    found = predictions.detach().cpu()
    require(
        bool(found.isfinite().all()),
        "the predictions are not finite: training diverged; try a lower training.learning_rate",
    )
    if task.is_regression:
        return found.double().reshape(len(found))
    return found.argmax(dim=-1) if found.ndim == 2 else found.long()


def _is_constant(found: Tensor) -> bool:
    spread = (found.max() - found.min()).item()
    return spread <= CONSTANT * max(1.0, found.abs().max().item())


def _accuracy(found: Tensor, labels: Tensor, num_labels: int) -> float:
    return multiclass_accuracy(found, labels, num_labels, average="micro").item()


def _f1(found: Tensor, labels: Tensor, num_labels: int) -> float:
    return binary_f1_score(found, labels).item()


def _matthews(found: Tensor, labels: Tensor, num_labels: int) -> float:
    return 0.0 if _is_constant(found) else multiclass_matthews_corrcoef(found, labels, num_labels).item()


def _correlation(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor, int], float]:
    def metric(found: Tensor, labels: Tensor, num_labels: int) -> float:
        constant = _is_constant(found) or _is_constant(labels)
        return 0.0 if constant else torch.clamp(function(found, labels.double()), -1.0, 1.0).item()

    return metric


_METRICS: dict[str, Callable[[Tensor, Tensor, int], float]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews": _matthews,
    "spearman": _correlation(spearman_corrcoef),
    "pearson": _correlation(pearson_corrcoef),
}
