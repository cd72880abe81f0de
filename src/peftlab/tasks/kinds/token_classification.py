"""Token classification: a tag for each word of a sentence, which together name its entities."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from datasets import Dataset, List, Value
from torch import Tensor

from peftlab.errors import require
from peftlab.inputs.encoder import Batch, Encoder, Example, Split
from peftlab.inputs.layouts import Words
from peftlab.inputs.text import text_encoder
from peftlab.output_layer import OutputLayer, tags
from peftlab.tasks.kind import KindExample, Metric, Predictions, TaskKind, require_finite
from peftlab.tasks.task import Task

log = logging.getLogger(__name__)

OUT = "O"
IGNORED = -100  # what cross-entropy leaves out


def entities(function: str, strict: bool = True) -> Metric:
    """Return a metric over the entities of all sentences, in [0, 1]; NaN where the gold tags name none.

    Args:
        function: of `seqeval.metrics`.
        strict: an entity begins with B-, as in the CoNLL task of files in IOB2; else what begins with I- counts too,
            which is seqeval's own default.
    """

    def value(predictions: Predictions) -> float:
        # It brings scikit-learn along, which no other kind waits for.
        import seqeval.metrics
        from seqeval.scheme import IOB2

        if all(tag == OUT for sentence in predictions.gold for tag in sentence):
            return math.nan
        found = [words.names for words in predictions.outputs]
        mode = {"mode": "strict", "scheme": IOB2} if strict else {}
        return float(getattr(seqeval.metrics, function)(predictions.gold, found, zero_division=0, **mode))

    return Metric(value)


class Tagged:
    """The tags of one sentence.

    Attributes:
        names: of each word.
        shares: how probable each tag is for each word, float32 [W, L]; of words that the model has not seen O is.
    """

    def __init__(self, shares: Tensor, labels: Sequence[str]) -> None:
        self.shares = shares
        self.names = [labels[place] for place in shares.argmax(-1).tolist()]


class TokenClassification(TaskKind):
    """A tag of the task's labels for each of `tokens`; `label` holds their names.

    A word's tag is read at its first token, and the others are left out of the loss. Words that do not fit into the
    model count as tagged O. Labels are in IOB2: `O`, and `B-` and `I-` with each type.
    """

    name = "token-classification"
    metrics: ClassVar = {
        "f1": entities("f1_score"),
        "precision": entities("precision_score"),
        "recall": entities("recall_score"),
        "f1_lenient": entities("f1_score", strict=False),
    }
    form = "words"
    columns: ClassVar = {
        "id": Value("string"),
        "tokens": List(Value("string")),
        "label": List(Value("string")),
    }

    def check(self) -> None:
        """Refuse labels that are no tags in IOB2."""
        super().check()
        labels, where = self.task.labels, f"task={self.task.name}: labels"
        require(len(set(labels)) == len(labels), f"{where} holds a label twice")
        odd = [label for label in labels if label != OUT and (label[:2] not in ("B-", "I-") or len(label) < 3)]
        require(not odd, f"{where}: {', '.join(odd)}: allowed are O, B-TYPE and I-TYPE (IOB2)")
        require(OUT in labels and len(labels) > 1, f"{where}={labels}: allowed are O and one type or more (IOB2)")
        unbegun = [label for label in labels if label[:2] == "I-" and f"B-{label[2:]}" not in labels]
        require(not unbegun, f"{where}: {', '.join(unbegun)} without its B-TYPE; allowed is IOB2")

    @property
    def output_layer(self) -> OutputLayer:
        """One output for each label at each token."""
        return tags(self.task.labels)

    def label(self, value: Any, spelt: Sequence[str] | None = None) -> list[str]:
        """Return the tags of a sentence as the task's labels spell them."""
        require(isinstance(value, list), f"label {value!r}; allowed is a list of tags")
        allowed = list(spelt or self.task.labels)
        odd = [str(tag) for tag in value if str(tag) not in allowed]
        require(not odd, f"label {''.join(odd[:1])!r}; allowed are {', '.join(allowed)}")
        return [self.task.labels[allowed.index(str(tag))] for tag in value]

    def check_row(self, row: Mapping[str, Any]) -> None:
        """Refuse another number of tags than of words, and no word at all."""
        words, number = len(row["tokens"]), len(row["label"])
        require(words == number, f"{words} tokens and {number} tags; allowed is one for each")
        require(words > 0, "no token")

    def admit(self, rows: Dataset, split: str) -> Dataset:
        """Turn IOB1, where an entity begins with I- unless it touches the one before, into IOB2; say how often."""
        rows = super().admit(rows, split)
        given = rows["label"][:]
        turned = [to_iob2(names) for names in given]
        changed = sum(
            one != other for pair in zip(given, turned, strict=True) for one, other in zip(*pair, strict=True)
        )
        if not changed:
            return rows
        log.warning("task=%s, %s: %d entities begin with I-: read as B-", self.task.name, split, changed)
        return rows.remove_columns("label").add_column("label", turned, feature=self.columns["label"])

    def encode(self, rows: Dataset, encoder: Encoder) -> Split:
        """Return a sequence of tokens for each sentence."""
        return text_encoder(encoder).arrange(rows, Words())

    def collate(self, examples: Sequence[Example], encoder: Encoder) -> Batch:
        """Return the examples with `labels` [B, S]: a word's at its first token, `IGNORED` elsewhere."""
        batch = encoder.collate(examples)
        labels = torch.full_like(batch["word"], IGNORED)
        for numbers, words, row in zip(labels, batch["word"], batch["rows"], strict=True):
            gold = torch.tensor([self.task.labels.index(name) for name in row["label"]])
            numbers[words >= 0] = gold[words[words >= 0]]
        return batch | {"labels": labels}

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean cross-entropy over words, in float32."""
        return F.cross_entropy(outputs.logits.float().flatten(0, 1), batch["labels"].flatten(), ignore_index=IGNORED)

    def loss_terms(self, batch: Batch) -> Tensor:
        """Return the number of words, a scalar."""
        return (batch["labels"] != IGNORED).sum()

    def predict(self, outputs: Any, batch: Batch) -> Predictions:
        """Return the tags of all words of B sentences."""
        shares = outputs.logits.detach().float().softmax(-1).cpu()
        found = []
        for given, words, row in zip(shares, batch["word"].cpu(), batch["rows"], strict=True):
            unseen = F.one_hot(torch.tensor(self.task.labels.index(OUT)), len(self.task.labels)).float()
            mine = unseen.repeat(len(row["tokens"]), 1)
            mine[words[words >= 0]] = given[words >= 0]
            found.append(Tagged(mine, self.task.labels))
        return Predictions(batch["index"].cpu(), found, [row["label"] for row in batch["rows"]])

    def score(self, predictions: Predictions) -> dict[str, float]:
        """Return the task's metrics, the primary one first; raises UserError where the training diverged."""
        require_finite(torch.cat([words.shares for words in predictions.outputs]))
        return super().score(predictions)

    def constant_answers(self, predictions: Predictions) -> list[Predictions]:
        """Return the predictions that find no entity."""
        labels = self.task.labels
        none = F.one_hot(torch.tensor(labels.index(OUT)), len(labels)).float()
        found = [Tagged(none.expand(words.shares.shape), labels) for words in predictions.outputs]
        return [replace(predictions, outputs=found)]

    def answers(self, predictions: Predictions) -> list[str]:
        """Return the tags of each sentence, with blanks between them."""
        return [" ".join(words.names) for words in predictions.outputs]

    def scores(self, predictions: Predictions) -> list[list[float]]:
        """Return how probable the tag of each word is."""
        return [words.shares.amax(-1).tolist() for words in predictions.outputs]

    def details(self, predictions: Predictions, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the tag of each word, how probable it is, and the entities: their first and last words, from 0."""
        found = zip(predictions.outputs, self.scores(predictions), rows, strict=True)
        return [
            {"tags": words.names, "probabilities": shares, "entities": _entities(words.names, row["tokens"])}
            for words, shares, row in found
        ]

    def gold_answers(self, predictions: Predictions) -> list[str]:
        """Return the right tags of each sentence, with blanks between them."""
        return [" ".join(names) for names in predictions.gold]

    def right(self, predictions: Predictions) -> list[bool]:
        """Return whether all tags of a sentence are right."""
        return [words.names == gold for words, gold in zip(predictions.outputs, predictions.gold, strict=True)]

    def stand_in(self, row: Mapping[str, Any]) -> list[str]:
        """Return O for each word."""
        return [OUT] * len(row["tokens"])

    def is_degenerate(self, predictions: Predictions) -> bool:
        """Return True for one tag for everything, O mostly."""
        return len({name for words in predictions.outputs for name in words.names}) == 1

    @classmethod
    def example(cls) -> KindExample:
        """Return four sentences with places and persons; one is longer than a small model reads."""
        labels = [OUT, "B-PER", "I-PER", "B-LOC", "I-LOC"]
        task = Task("example", list(cls.metrics), labels, kind=cls.name, generator="none")
        tagged = [
            "ann/B-PER lives/O in/O new/B-LOC york/I-LOC",
            "bob/B-PER lee/I-PER came/O",
            "it/O rained/O",
            "rome/B-LOC and/O oslo/B-LOC greet/O ann/B-PER lee/I-PER from/O the/O north/O with/O love/O and/O songs/O",
        ]
        pairs = [[word.split("/") for word in sentence.split()] for sentence in tagged]
        words, names = ([[pair[part] for pair in sentence] for sentence in pairs] for part in (0, 1))
        return KindExample(
            cls(task), Dataset.from_dict({"tokens": words, "label": names}), _predicted(labels, names, names)
        )

    @classmethod
    def unlearnt(cls) -> Predictions:
        """Return O for all words."""
        kind, rows, _ = cls.example()
        return _predicted(kind.task.labels, [[OUT] * len(words) for words in rows["tokens"]], rows["label"][:])


def to_iob2(names: Sequence[str]) -> list[str]:
    """Return tags in which each entity begins with B-, of tags in IOB1 or IOB2."""
    before = [OUT, *names]
    return [
        f"B-{name[2:]}" if name[:2] == "I-" and last[2:] != name[2:] else name
        for last, name in zip(before, names, strict=False)
    ]


def _entities(names: Sequence[str], tokens: Sequence[str]) -> list[dict[str, Any]]:
    from seqeval.metrics.sequence_labeling import get_entities

    return [
        {"type": kind, "text": " ".join(tokens[first : last + 1]), "first": first, "last": last}
        for kind, first, last in get_entities(list(names))
    ]


def _predicted(labels: Sequence[str], found: Sequence[Sequence[str]], gold: Sequence[Sequence[str]]) -> Predictions:
    places = [torch.tensor([labels.index(name) for name in names]) for names in found]
    outputs = [Tagged(F.one_hot(row, len(labels)).float(), labels) for row in places]
    return Predictions(torch.arange(len(gold)), outputs, [list(names) for names in gold])
