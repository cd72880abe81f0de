"""Every kind of task keeps what `TaskKind` promises, on its own tiny example; scores are scikit-learn's and SciPy's."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    matthews_corrcoef,
    mean_squared_error,
)
from torch import Tensor
from transformers.modeling_outputs import SequenceClassifierOutput

from peftlab.backbones.forward import outputs_of
from peftlab.check.kinds import PROMISES, backbone_for, batch_for
from peftlab.check.promise import DoesNotApplyError
from peftlab.errors import UserError
from peftlab.tasks.kind import KINDS, Predictions, TaskKind, kind_of
from peftlab.tasks.task import Task
from tasks.shipped import shipped

GENERATOR = np.random.default_rng(0)
REFERENCES = {
    "accuracy": accuracy_score,
    "f1": f1_score,
    "matthews": matthews_corrcoef,
    "macro_f1": lambda labels, found: f1_score(labels, found, average="macro"),
    "balanced_accuracy": balanced_accuracy_score,
    "spearman": lambda labels, found: spearmanr(labels, found).statistic,
    "pearson": lambda labels, found: pearsonr(labels, found).statistic,
}


def predicted(outputs: Any, gold: Any) -> Predictions:
    """Return predictions as a run collects them; of class ids the logits that choose them."""
    found, gold = torch.as_tensor(outputs), torch.as_tensor(gold)
    if found.dtype == torch.int64:
        found = torch.nn.functional.one_hot(found, 3).float()
    return Predictions(torch.arange(len(gold)), found, gold)


# The contract ------------------------------------------------------------------------------------------


def test_the_kinds_are_found_by_themselves() -> None:
    assert {"classification", "regression"} <= set(KINDS.names())


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("cls", KINDS.classes(), ids=lambda cls: cls.name)
def test_every_kind(cls: type[TaskKind], promise: Callable[[type[TaskKind]], None]) -> None:
    """The promises are those that `python -m peftlab.check NAME` puts a user's kind through."""
    try:
        promise(cls)
    except DoesNotApplyError as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("name", ["classification", "regression"])
def test_the_loss_is_that_of_transformers_own_model(name: str) -> None:
    kind, rows, _ = KINDS.get(name).example()
    backbone = backbone_for(kind)
    batch = batch_for(kind, backbone, rows)
    inputs = {name: value for name, value in batch.items() if name != "index"}
    assert kind.loss(outputs_of(backbone, batch), batch).item() == backbone.model(**inputs).loss.item()


def test_a_regression_has_no_strata_and_says_so() -> None:
    kind, rows, _ = KINDS.get("regression").example()
    with pytest.raises(UserError, match=r"^a regression task \(such as stsb\) has no classes to draw from$"):
        kind.strata(rows)


# What each writes --------------------------------------------------------------------------------------


def test_a_class_is_written_as_its_label_and_a_score_inside_its_range_with_three_decimals() -> None:
    assert kind_of(shipped("rte")).answers(predicted([[0.0, 1.0], [2.0, 1.0]], [0, 0])) == [
        "not_entailment",
        "entailment",
    ]
    scores = kind_of(shipped("stsb")).answers(predicted([[-0.2], [2.34567], [5.5]], [0.0, 0.0, 0.0]))
    assert scores == ["0.000", "2.346", "5.000"]


# What a source's text means ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "value", "spelt", "label"),
    [
        ("rte", "not_entailment", None, 1),
        ("rte", "no", ["yes", "no"], 1),
        ("stsb", "2.5", None, 2.5),
        ("stsb", 5, None, 5.0),
    ],
)
def test_a_label_is_a_place_or_a_score(task: str, value: Any, spelt: Sequence[str] | None, label: float) -> None:
    assert kind_of(shipped(task)).label(value, spelt) == label


@pytest.mark.parametrize(
    ("task", "value", "message"),
    [
        ("rte", "maybe", "label 'maybe'; allowed are entailment, not_entailment"),
        ("stsb", "high", "score 'high'; allowed are numbers from 0.0 to 5.0"),
        ("stsb", -1, "score -1; allowed are numbers from 0.0 to 5.0"),
        ("stsb", None, "score None; allowed are numbers from 0.0 to 5.0"),
    ],
)
def test_what_is_no_label_of_the_task_is_refused(task: str, value: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        kind_of(shipped(task)).label(value)
    assert str(caught.value) == message


# The metrics, against scikit-learn and SciPy -----------------------------------------------------------


@pytest.mark.parametrize("name", ["cola", "mrpc", "qqp", "rte", "sst2", "qnli", "mnli"])
def test_metrics_of_classes_equal_scikit_learns_primary_first(name: str) -> None:
    task = shipped(name)
    logits = GENERATOR.normal(size=(500, len(task.labels)))
    labels = GENERATOR.integers(len(task.labels), size=500)
    found = kind_of(task).score(predicted(logits, labels))
    expected = {metric: REFERENCES[metric](labels, logits.argmax(1)) for metric in task.metrics}
    assert found == pytest.approx(expected, abs=1e-6)
    assert list(found) == task.metrics


def test_correlations_of_scores_equal_scipys_ties_included() -> None:
    scores = GENERATOR.normal(2.5, 1.0, size=300).round(1)
    labels = (scores + GENERATOR.normal(size=300)).clip(0, 5).round(1)
    found = kind_of(shipped("stsb")).score(predicted(scores[:, None], torch.tensor(labels, dtype=torch.float32)))
    expected = {metric: REFERENCES[metric](labels, scores) for metric in ("spearman", "pearson")}
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "logits", "labels"),
    [
        ("mrpc", [[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [0.0, 4.0]], torch.tensor([0, 1, 1, 1])),
        ("stsb", [[1.0], [2.0], [4.0], [3.0]], torch.tensor([0.0, 1.0, 1.0, 1.0])),
    ],
)
def test_half_precision_gives_the_same(name: str, logits: list[list[float]], labels: Tensor) -> None:
    kind, batch = kind_of(shipped(name)), {"index": torch.arange(4), "labels": labels}
    whole, half = (
        kind.predict(SequenceClassifierOutput(logits=torch.tensor(logits, dtype=dtype)), batch)
        for dtype in (torch.float32, torch.bfloat16)
    )
    assert half.outputs.dtype == torch.float32
    assert kind.score(whole) == kind.score(half)


@pytest.mark.parametrize("answer", [0, 1])
def test_matthews_of_one_answer_for_all_is_zero(answer: int) -> None:
    found = kind_of(shipped("cola")).score(predicted(torch.full((4,), answer), [0, 1, 1, 1]))
    assert found == {"matthews": 0.0, "accuracy": (1 + 2 * answer) / 4}


@pytest.mark.parametrize("metric", ["matthews", "f1"])
def test_a_metric_of_labels_that_the_gold_answers_leave_undefined_is_no_number(metric: str) -> None:
    found = KINDS.get("classification").metrics[metric].function(predicted([0, 1, 1, 0], [0, 0, 0, 0]))
    assert math.isnan(found)


@pytest.mark.parametrize("metric", ["spearman", "pearson"])
def test_a_correlation_with_scores_that_are_all_the_same_is_no_number(metric: str) -> None:
    found = KINDS.get("regression").metrics[metric].function(predicted([[1.0], [2.0], [3.0]], [2.5, 2.5, 2.5]))
    assert math.isnan(found)


@pytest.mark.parametrize(
    ("metric", "gold", "found"),
    [
        ("macro_f1", [0, 1, 2, 2, 1], [0, 1, 1, 2, 1]),
        ("macro_f1", [0, 1, 1, 1], [0, 1, 0, 1]),  # the third label is nowhere
        ("macro_f1", [1, 1, 1, 1], [1, 1, 1, 0]),  # one that is chosen alone counts
        ("balanced_accuracy", [0, 1, 2, 2, 1], [0, 1, 1, 2, 1]),
        ("balanced_accuracy", [0, 1, 1, 1], [0, 2, 1, 1]),  # one that is chosen alone does not
    ],
)
def test_metrics_that_weigh_labels_alike_equal_scikit_learns(metric: str, gold: list[int], found: list[int]) -> None:
    value = KINDS.get("classification").metrics[metric].function(predicted(found, gold))
    assert value == pytest.approx(REFERENCES[metric](gold, found))


def test_the_mean_squared_error_is_scikit_learns_and_lower_is_better() -> None:
    metric = KINDS.get("regression").metrics["mse"]
    scores, gold = GENERATOR.normal(size=50), GENERATOR.normal(size=50)
    assert metric.function(predicted(scores[:, None], gold)) == pytest.approx(mean_squared_error(gold, scores))
    assert (metric.better, metric.unit) == ("lower", "")


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_correlation_of_a_constant_score_is_zero_even_with_rounding_noise(noise: float) -> None:
    labels = torch.tensor([1.0, 2.0, 3.0])
    found = kind_of(shipped("stsb")).score(predicted((2.5 + noise * labels)[:, None], labels))
    assert found == {"spearman": 0.0, "pearson": 0.0}


CONSTANTS: list[tuple[str, dict[str, Any], float | None]] = [
    # kind, its example's gold answers, and what the best of all answers to everything scores
    ("classification", {"metrics": ["accuracy"]}, 0.5),  # two of each label
    ("classification", {"metrics": ["f1"]}, 2 / 3),  # always the second: half are right, all are found
    ("classification", {"metrics": ["matthews"]}, 0.0),
    ("classification", {"metrics": ["balanced_accuracy"]}, 0.5),
    ("token-classification", {"metrics": ["f1"]}, 0.0),
    ("regression", {"metrics": ["mse"]}, None),
    ("question-answering", {}, None),
]


@pytest.mark.parametrize(("name", "task", "score"), CONSTANTS)
def test_what_one_answer_to_everything_scores_is_known_where_there_is_one(name, task, score) -> None:
    example = KINDS.get(name).example()
    kind = replace(example.kind, task=replace(example.kind.task, **task))
    assert kind.constant_score(example.predictions) == (None if score is None else pytest.approx(score))


def test_one_answer_to_everything_is_right_as_often_as_its_label_is_gold() -> None:
    gold = [0, 2, 2, 2, 1, 2]
    three = kind_of(Task("three", ["accuracy", "macro_f1"], ["a", "b", "c"], kind="classification", generator="none"))
    assert three.constant_score(predicted([0] * 6, gold)) == pytest.approx(accuracy_score(gold, [2] * 6))
    choice = kind_of(Task("choice", ["accuracy"], kind="multiple-choice", generator="none"))
    assert choice.constant_score(predicted([0] * 6, gold)) == pytest.approx(4 / 6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_model_has_no_metrics(value: float) -> None:
    with pytest.raises(UserError, match="training diverged; try a lower training"):
        kind_of(shipped("rte")).score(predicted([[0.0, value]], [1]))


def test_predictions_of_another_length_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Predictions(torch.arange(4), torch.zeros(3, 2), torch.zeros(4, dtype=torch.long))


@pytest.mark.parametrize(
    ("name", "outputs", "labels", "degenerate"),
    [
        ("rte", [0, 0, 0, 0], [0, 1, 0, 1], True),
        ("rte", [0, 1, 1, 0], [0, 0, 1, 1], False),
        ("cola", [0, 1, 1, 0], [0, 0, 1, 1], True),
        ("cola", [0, 1, 1, 1], [0, 0, 1, 1], False),
        ("stsb", [[2.5], [2.5], [2.5]], [1.0, 2.0, 3.0], True),
        ("stsb", [[2.4], [2.5], [2.6]], [1.0, 2.0, 3.0], False),
    ],
)
def test_one_answer_for_all_or_matthews_zero_is_degenerate(
    name: str, outputs: list[Any], labels: list[float], degenerate: bool
) -> None:
    assert kind_of(shipped(name)).is_degenerate(predicted(outputs, labels)) is degenerate
