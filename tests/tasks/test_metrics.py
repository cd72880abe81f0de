"""The metrics, against scikit-learn and SciPy."""

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from peftlab.errors import UserError
from peftlab.tasks.metrics import evaluate, is_collapsed
from tasks.shipped import shipped

GENERATOR = np.random.default_rng(0)
REFERENCES = {
    "accuracy": accuracy_score,
    "f1": f1_score,
    "matthews": matthews_corrcoef,
    "spearman": lambda labels, found: spearmanr(labels, found).statistic,
    "pearson": lambda labels, found: pearsonr(labels, found).statistic,
}


@pytest.mark.parametrize("name", ["cola", "mrpc", "qqp", "rte", "sst2", "qnli", "mnli"])
def test_metrics_of_classes_equal_scikit_learns_primary_first(name: str):
    task = shipped(name)
    logits = GENERATOR.normal(size=(500, task.num_labels))
    labels = GENERATOR.integers(task.num_labels, size=500)
    found = evaluate(task, torch.tensor(logits), torch.tensor(labels))
    expected = {metric: REFERENCES[metric](labels, logits.argmax(1)) for metric in task.metrics}
    assert found == pytest.approx(expected, abs=1e-6)
    assert list(found) == task.metrics


def test_correlations_of_scores_equal_scipys_ties_included():
    scores = GENERATOR.normal(2.5, 1.0, size=300).round(1)
    labels = (scores + GENERATOR.normal(size=300)).clip(0, 5).round(1)
    found = evaluate(shipped("stsb"), torch.tensor(scores)[:, None], torch.tensor(labels, dtype=torch.float32))
    expected = {metric: REFERENCES[metric](labels, scores) for metric in ("spearman", "pearson")}
    assert found == pytest.approx(expected, abs=1e-5)


def test_class_ids_and_logits_and_half_precision_give_the_same():
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [0.0, 4.0]], dtype=torch.bfloat16)
    labels = torch.tensor([0, 1, 1, 1])
    assert evaluate(shipped("mrpc"), logits, labels) == evaluate(shipped("mrpc"), logits.argmax(1), labels)
    scores = torch.tensor([1.0, 2.0, 4.0, 3.0])
    task = shipped("stsb")
    assert evaluate(task, scores, labels.float()) == evaluate(task, scores.bfloat16()[:, None], labels.float())


@pytest.mark.parametrize("answer", [0, 1])
def test_matthews_of_one_answer_for_all_is_zero(answer: int):
    task, labels = shipped("cola"), torch.tensor([1, 1, 1, 1])
    assert evaluate(task, torch.full((4,), answer), labels) == {"matthews": 0.0, "accuracy": float(answer)}


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_correlation_of_a_constant_score_is_zero_even_with_rounding_noise(noise: float):
    labels = torch.tensor([1.0, 2.0, 3.0])
    assert evaluate(shipped("stsb"), 2.5 + noise * labels, labels) == {"spearman": 0.0, "pearson": 0.0}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_model_has_no_metrics(value: float):
    with pytest.raises(UserError, match="training diverged; try a lower training"):
        evaluate(shipped("rte"), torch.tensor([[0.0, value]]), torch.tensor([1]))


def test_predictions_of_another_length_are_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="do not fit"):
        evaluate(shipped("rte"), torch.zeros(3, 2), torch.zeros(4, dtype=torch.long))


@pytest.mark.parametrize(
    ("name", "predictions", "labels", "collapsed"),
    [
        ("rte", [0, 0, 0, 0], [0, 1, 0, 1], True),
        ("rte", [0, 1, 1, 0], [0, 0, 1, 1], False),
        ("cola", [0, 1, 1, 0], [0, 0, 1, 1], True),
        ("cola", [0, 1, 1, 1], [0, 0, 1, 1], False),
        ("stsb", [2.5, 2.5, 2.5], [1.0, 2.0, 3.0], True),
        ("stsb", [2.4, 2.5, 2.6], [1.0, 2.0, 3.0], False),
    ],
)
def test_collapse_is_one_answer_for_all_or_matthews_zero(
    name: str, predictions: list[float], labels: list[float], collapsed: bool
):
    assert is_collapsed(shipped(name), torch.tensor(predictions), torch.tensor(labels)) is collapsed
