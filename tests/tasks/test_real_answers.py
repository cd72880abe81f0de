"""On real files: what is right comes through tokens and batches whole, and what is not is scored as others score it."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor
from torchmetrics.functional.text import squad
from transformers import BertTokenizerFast

from peftlab.inputs.encoder import Batch
from peftlab.inputs.text import TextEncoder
from peftlab.tasks.kind import Predictions, TaskKind, kind_of
from peftlab.tasks.sources.splits import load_splits
from tasks.shipped import shipped

EXAMPLES = 120
Reference = Callable[[Predictions], dict[str, float]]


def sure(right: Tensor, size: int) -> Tensor:
    """Return outputs that are sure of the right places, float32 [..., size]."""
    return F.one_hot(right.clamp(min=0), size).float() * 20


def right_outputs(batch: Batch) -> SimpleNamespace:
    """Return what a model that knows all gives for a batch of windows, words, choices or sentences."""
    if "starts" in batch:
        size = batch["input_ids"].shape[1]
        return SimpleNamespace(start_logits=sure(batch["starts"], size), end_logits=sure(batch["ends"], size))
    if "word" in batch:
        return SimpleNamespace(logits=sure(batch["labels"], int(batch["labels"].max()) + 1))
    if "sequences" in batch:
        return SimpleNamespace(logits=torch.cat([sure(torch.tensor(row["label"]), 2) for row in batch["rows"]]))
    return SimpleNamespace(logits=sure(batch["labels"], 3))


def disturbed(outputs: SimpleNamespace, noise: float, generator: torch.Generator) -> SimpleNamespace:
    """Return the outputs of a model that errs the more often, the larger the noise."""
    drawn = {name: torch.randn(value.shape, generator=generator) for name, value in vars(outputs).items()}
    return SimpleNamespace(**{name: value + noise * drawn[name] for name, value in vars(outputs).items()})


@cache
def first_examples(name: str, data: Path) -> Dataset:
    """Return the first validation examples of a task's real files."""
    rows = load_splits(shipped(name), data)["validation"]
    return rows.select(range(min(EXAMPLES, len(rows))))


def predicted(kind: TaskKind, data: Path, length: int, noise: float) -> Predictions:
    """Return what a model that knows all, but for the noise, predicts for real examples."""
    tokenizer = BertTokenizerFast(str(data / "vocab" / "bert-base-uncased-vocab.txt"), model_max_length=512)
    encoder = TextEncoder(tokenizer, length)
    split = kind.encode(first_examples(kind.task.name, data), encoder)
    generator, parts = torch.Generator().manual_seed(1), []
    for begin in range(0, len(split), 32):
        batch = kind.collate([split[place] for place in range(begin, min(begin + 32, len(split)))], encoder)
        parts.append(kind.predict(disturbed(right_outputs(batch), noise, generator), batch))
    return Predictions.joined(parts)


def of_torchmetrics(predictions: Predictions) -> dict[str, float]:
    names = [str(number) for number in predictions.ids.tolist()]
    found = [
        {"id": name, "prediction_text": answer.text} for name, answer in zip(names, predictions.outputs, strict=True)
    ]
    right = [
        {"id": name, "answers": {"text": texts, "answer_start": [0] * len(texts)}}
        for name, texts in zip(names, predictions.gold, strict=True)
    ]
    return {name: value.item() / 100 for name, value in squad(found, right).items()}  # type: ignore[arg-type]


def spans_of(tags: list[str]) -> set[tuple[str, int, int]]:
    """Return the entities of IOB2, read by its definition: a B- and the I- of the same type that follow it."""
    found = set()
    for begin, tag in enumerate(tags):
        if tag.startswith("B-"):
            end = begin + 1
            while end < len(tags) and tags[end] == f"I-{tag[2:]}":
                end += 1
            found.add((tag[2:], begin, end))
    return found


def of_spans(predictions: Predictions) -> dict[str, float]:
    found = {(place, *span) for place, words in enumerate(predictions.outputs) for span in spans_of(words.names)}
    right = {(place, *span) for place, tags in enumerate(predictions.gold) for span in spans_of(tags)}
    precision, recall = len(found & right) / len(found), len(found & right) / len(right)
    return {"precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall)}


def of_scikit_learn(predictions: Predictions) -> dict[str, float]:
    found, right = predictions.outputs.argmax(-1), predictions.gold
    exact, macro = accuracy_score(right, found), f1_score(right, found, average="macro")
    return {"accuracy": exact, "macro_f1": macro, "accuracy_with_macro_f1": (exact + macro) / 2}


CASES: list[Any] = [
    # A few answers begin or end within a token: "1980s" where 1980 is asked for.
    ("squad", 384, 7, 0.97, of_torchmetrics),
    ("squad", 96, 7, 0.97, of_torchmetrics),  # two windows or more for most questions
    ("wnut17", 128, 7, 1.0, of_spans),
    ("copa", 128, 20, 1.0, of_scikit_learn),
    ("cb", 256, 20, 1.0, of_scikit_learn),
]


@pytest.mark.parametrize(("name", "length", "noise", "least", "reference"), CASES)
def test_right_answers_come_through_and_wrong_ones_are_scored_as_by_others(
    shared_data: Path, name: str, length: int, noise: float, least: float, reference: Reference
) -> None:
    kind = kind_of(shipped(name))
    assert kind.score(predicted(kind, shared_data, length, 0.0))[kind.primary] >= least
    predictions = predicted(kind, shared_data, length, noise)
    found, expected = kind.score(predictions), reference(predictions)
    assert 0.1 < found[kind.primary] < 0.9
    assert kind.primary in expected
    for metric in found.keys() & expected.keys():
        assert found[metric] == pytest.approx(expected[metric], abs=1e-6), metric
