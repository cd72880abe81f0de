"""Metrics of spans, entities, several answers and clozes: cases written out, and independent implementations."""

import math
import random

import pytest
import torch
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2
from sklearn.metrics import f1_score as f1_of_classes
from torchmetrics.functional.text import squad

from peftlab.tasks.answer_texts import best_of, exact_match, f1, f1_with_none, normalised
from peftlab.tasks.kind import KINDS, Predictions, kind_of
from peftlab.tasks.kinds.cloze import Named
from peftlab.tasks.kinds.token_classification import Tagged, to_iob2
from peftlab.tasks.spans import Answer, Span
from tasks.shipped import shipped


def answered(texts: list[str], gold: list[list[str]], none_by: float | None = None) -> Predictions:
    found = [Answer([Span(text, 0, len(text), 1.0)] if text else [], none_by, bool(text)) for text in texts]
    return Predictions(torch.arange(len(texts)), found, gold)


@pytest.mark.parametrize(
    ("found", "gold", "one", "two", "exact"),
    [
        ("The  Cat!", "cat", 1.0, 1.0, 1.0),  # articles, punctuation, case and blanks do not count
        ("black cat", "the cat", 2 / 3, 2 / 3, 0.0),
        ("cat cat", "cat", 2 / 3, 2 / 3, 0.0),  # a word counts as often as it is there
        ("dog", "cat", 0.0, 0.0, 0.0),
        ("the", "a", 0.0, 1.0, 1.0),  # nothing is left of both
        ("", "", 0.0, 1.0, 1.0),
        ("", "cat", 0.0, 0.0, 0.0),
        ("theatre", "atre", 0.0, 0.0, 0.0),  # an article is a word of its own
    ],
)
def test_the_rules_of_squad(found: str, gold: str, one: float, two: float, exact: float) -> None:
    assert (f1(found, gold), f1_with_none(found, gold)) == pytest.approx((one, two))
    assert exact_match(found, gold) == exact


def test_of_several_right_answers_the_best_counts() -> None:
    assert best_of(f1, "in the old barn", ["barn", "old barn", "a house"]) == pytest.approx(0.8)
    assert normalised("It's  (the) U.S.") == "its us"


def test_scores_of_version_1_equal_torchmetrics() -> None:
    draw = random.Random(0)
    words = ["cat", "dog", "the", "a", "Bird!", "sang", "in", "1858", "an owl"]
    texts = [" ".join(draw.choices(words, k=draw.randint(1, 4))) + " x" for _ in range(200)]
    gold = [[" ".join(draw.choices(words, k=draw.randint(1, 4))) + " x" for _ in range(3)] for _ in range(200)]
    score = kind_of(shipped("squad")).score(answered(texts, gold))
    preds = [{"prediction_text": text, "id": str(number)} for number, text in enumerate(texts)]
    target = [
        {"answers": {"answer_start": [0] * 3, "text": right}, "id": str(number)} for number, right in enumerate(gold)
    ]
    expected = squad(preds, target)
    assert score["f1"] * 100 == pytest.approx(expected["f1"].item(), abs=1e-4)
    assert score["exact_match"] * 100 == pytest.approx(expected["exact_match"].item(), abs=1e-4)


def test_version_2_scores_questions_with_and_without_an_answer() -> None:
    found = answered(["a cat", "", "dog", ""], [["cat"], [], [], ["bird"]], none_by=0.5)
    assert kind_of(shipped("squad-v2")).score(found) == {
        "f1": 0.5,
        "exact_match": 0.5,
        "f1_answerable": 0.5,
        "exact_match_answerable": 0.5,
        "f1_unanswerable": 0.5,
    }


def test_strict_entities_begin_with_b_and_lenient_ones_need_not() -> None:
    kind, _, _ = KINDS.get("token-classification").example()
    gold = [["B-PER", "I-PER", "O", "B-LOC"]]
    found = [["I-PER", "I-PER", "O", "B-LOC"]]
    outputs = [Tagged(torch.eye(5)[[kind.task.labels.index(name) for name in row]], kind.task.labels) for row in found]
    score = kind.score(Predictions(torch.arange(1), outputs, gold))
    assert score["f1"] == f1_score(gold, found, mode="strict", scheme=IOB2) == pytest.approx(2 / 3)
    assert score["f1_lenient"] == f1_score(gold, found) == 1.0
    without = Predictions(torch.arange(1), outputs, [["O"] * 4])
    assert math.isnan(kind.score(without)["f1"])


def test_iob1_is_read_as_iob2() -> None:
    given = ["I-PER", "I-PER", "O", "I-LOC", "B-LOC", "I-PER"]
    assert to_iob2(given) == ["B-PER", "I-PER", "O", "B-LOC", "B-LOC", "B-PER"]


def test_multirc_counts_answers_and_whole_questions() -> None:
    kind, _, perfect = KINDS.get("several-answers").example()
    found = [torch.eye(2)[row] for row in ([1, 0, 0], [0, 1], [1, 1], [0, 1, 1])]
    gold = [row for rows in perfect.gold for row in rows]
    flat = [1, 0, 0, 0, 1, 1, 1, 0, 1, 1]
    score = kind.score(Predictions(perfect.ids, found, perfect.gold))
    assert score == pytest.approx({"f1": f1_of_classes(gold, flat), "exact_match": 0.5})


def test_record_takes_the_right_name_that_suits_best() -> None:
    kind, _, _ = KINDS.get("cloze").example()
    outputs = [Named(["Bob Lee", "Ann"], torch.tensor([1.0, 0.0])), Named(["Ann", "Bob"], torch.tensor([1.0, 0.0]))]
    score = kind.score(Predictions(torch.arange(2), outputs, [["Bob", "the Bob Lee"], ["Bob"]]))
    assert score == {"f1": 0.5, "exact_match": 0.5}


def test_cb_is_the_mean_of_accuracy_and_macro_f1() -> None:
    gold, found = torch.tensor([0, 0, 1, 2]), torch.tensor([0, 1, 1, 0])
    outputs = torch.nn.functional.one_hot(found, 3).float()
    score = kind_of(shipped("cb")).score(Predictions(torch.arange(4), outputs, gold))
    macro = f1_of_classes(gold, found, average="macro")
    assert score["accuracy_with_macro_f1"] == pytest.approx((0.5 + macro) / 2)
