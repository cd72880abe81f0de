"""Extractive question answering: the span of a context that answers a question, or that there is none."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from datasets import Dataset, List, Value
from torch import Tensor

from peftlab.errors import require
from peftlab.inputs.encoder import Batch, Encoder, Example, Split
from peftlab.inputs.layouts import Windows
from peftlab.inputs.text import text_encoder
from peftlab.output_layer import OutputLayer, spans
from peftlab.tasks.answer_texts import Rule, best_of, exact_match, f1, f1_with_none, right_answers
from peftlab.tasks.kind import KindExample, Metric, Predictions, TaskKind, require_finite
from peftlab.tasks.spans import Answer, Span, best_spans, none_scores, null_positions, span_positions
from peftlab.tasks.task import Task

log = logging.getLogger(__name__)


def of_questions(rules: tuple[Rule, Rule], answerable: bool | None = None) -> Metric:
    """Return a metric of answers in words, a mean over questions in [0, 1]; NaN where there is none of the sort.

    Args:
        rules: that of version 1.1, and that where a question may have no answer.
        answerable: only of the questions that have an answer, or of those that have none; None: of all.
    """

    def mean(predictions: Predictions) -> float:
        values = [
            best_of(rules[answer.none_by is not None], answer.text, gold)
            for answer, gold in zip(predictions.outputs, predictions.gold, strict=True)
            if answerable is None or bool(gold) == answerable
        ]
        return math.fsum(values) / len(values) if values else math.nan

    return Metric(mean)


_CELLS = {str: "texts", int: "whole numbers"}
F1, EXACT_MATCH = (f1, f1_with_none), (exact_match, exact_match)


@dataclass(frozen=True)
class QuestionAnswering(TaskKind):
    """A span of `context` for each `question`; `label` holds the right answers and where each begins.

    A context that is too long is read in windows; a batch of B questions is all windows of these, and what is scored
    is questions. In training a window that does not hold the (first) answer is labelled with the null position, in
    version 1.1 too: [CLS], or the last token where a tokenizer has none, as those of decoders. Pre-processing and
    choice of spans: Google's run_squad.py, offsets and names as in transformers' run_qa.py; spans are chosen among
    positions of the context alone.

    Options:
        unanswerable: some questions have no answer (SQuAD 2.0): no answer can be given, and its rule scores.
        overlap: tokens that a window shares with the one before, a tokenizer's `stride`: run_qa.py's 128. Google's
            `doc_stride=128` is something else: windows *move* by 128 there.
        max_question: tokens of a question; the rest is cut.
        max_answer: tokens of an answer.
        n_best: begins and ends of a window that are tried, and answers that are kept.
        null_threshold: no answer is given where its score is above the best span's by more than this.
    """

    unanswerable: bool = False
    overlap: int = 128
    max_question: int = 64
    max_answer: int = 30
    n_best: int = 20
    null_threshold: float = 0.0

    name = "question-answering"
    metrics: ClassVar = {
        "f1": of_questions(F1),
        "exact_match": of_questions(EXACT_MATCH),
        "f1_answerable": of_questions(F1, True),
        "exact_match_answerable": of_questions(EXACT_MATCH, True),
        "f1_unanswerable": of_questions(F1, False),
    }
    form = "questions"
    columns: ClassVar = {
        "id": Value("string"),
        "question": Value("string"),
        "context": Value("string"),
        "label": {"text": List(Value("string")), "answer_start": List(Value("int64"))},
    }

    def check(self) -> None:
        """Refuse labels, and numbers out of range."""
        super().check()
        where = f"task={self.task.name}"
        require(not self.task.labels and self.task.range is None, f"{where}: questions have neither labels nor a range")
        for name, least in (("overlap", 0), ("max_question", 1), ("max_answer", 1), ("n_best", 1)):
            value = getattr(self, name)
            require(value >= least, f"{where}: options.{name}={value}: allowed are whole numbers from {least}")

    @property
    def output_layer(self) -> OutputLayer:
        """Two outputs at each token, that the answer begins and ends there."""
        return spans()

    def label(self, value: Any, spelt: Sequence[str] | None = None) -> dict[str, list[Any]]:
        """Return the right answers: `text` and `answer_start`, their first characters' places in the context.

        Args:
            value: SQuAD's own list of answers, or the Hub's table of two lists.
            spelt: nothing of it is needed.
        """
        table = value if isinstance(value, Mapping) else _as_table(value)
        texts, starts = table.get("text", []), table.get("answer_start", [])
        for name, cells, of in (("text", texts, str), ("answer_start", starts, int)):
            right = isinstance(cells, list | tuple) and all(isinstance(cell, of) for cell in cells)
            require(right, f"answers: {name} {cells!r}; allowed is a list of {_CELLS[of]}")
        told = f"answers: {len(texts)} texts and {len(starts)} places; allowed is a place for each text"
        require(len(texts) == len(starts), told)
        return {"text": list(texts), "answer_start": list(starts)}

    def check_row(self, row: Mapping[str, Any]) -> None:
        """Refuse a question without words or context, and one without an answer where each has one."""
        require(bool(row["question"] and row["question"].strip()), "question: empty")
        require(bool(row["context"] and row["context"].strip()), "question without context")
        some = self.unanswerable or bool(row["label"]["text"])
        require(some, "question without an answer; allowed where options.unanswerable=true")

    def admit(self, rows: Dataset, split: str) -> Dataset:
        """Leave out training questions whose answer is not in the context at its place; say how many.

        Where texts are scored, places do not matter, and nothing is left out.
        """
        rows = super().admit(rows, split)
        if split != "train":
            return rows
        pairs = zip(rows["context"][:], rows["label"][:], strict=True)
        kept = [number for number, pair in enumerate(pairs) if _in_context(*pair)]
        where = f"task={self.task.name}, {split}"
        require(bool(kept), f"{where}: no answer is in its context at its place")
        if len(kept) < len(rows):
            skipped = len(rows) - len(kept)
            log.warning("%s: %d of %d questions are skipped: the answer is not at its place", where, skipped, len(rows))
        return rows.select(kept) if len(kept) < len(rows) else rows

    def encode(self, rows: Dataset, encoder: Encoder) -> Split:
        """Return the windows of each question."""
        return text_encoder(encoder).arrange(rows, Windows(self.overlap, self.max_question))

    def collate(self, examples: Sequence[Example], encoder: Encoder) -> Batch:
        """Return all windows of the examples with the positions of answer and null: `starts`, `ends`, `nulls` [M]."""
        batch = encoder.collate(examples)
        nulls = null_positions(batch, text_encoder(encoder).tokenizer.cls_token_id)
        starts, ends = span_positions(batch, nulls)
        return batch | {"starts": starts, "ends": ends, "nulls": nulls}

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        """Return the mean over windows of the cross-entropies of begin and end, in float32; no answer lies in a pad."""
        pads = batch["attention_mask"] == 0
        start, end = (
            logits.float().masked_fill(pads, -torch.inf) for logits in (outputs.start_logits, outputs.end_logits)
        )
        return (F.cross_entropy(start, batch["starts"]) + F.cross_entropy(end, batch["ends"])) / 2

    def loss_terms(self, batch: Batch) -> int:
        """Return the number of windows."""
        return len(batch["starts"])

    def predict(self, outputs: Any, batch: Batch) -> Predictions:
        """Return the answers to B questions, each from all its windows.

        Raises:
            UserError: outputs that are not finite: the training diverged.
        """
        start, end = (logits.detach().float().cpu() for logits in (outputs.start_logits, outputs.end_logits))
        require_finite(start + end)
        found = best_spans(start, end, batch, self.n_best, self.max_answer)
        gold = [row["label"]["text"] for row in batch["rows"]]
        if not self.unanswerable:
            return Predictions(batch["index"].cpu(), [Answer(best) for best in found], gold)
        given = map(self._or_none, found, none_scores(start, end, batch))
        return Predictions(batch["index"].cpu(), list(given), [right_answers(texts) for texts in gold])

    def _or_none(self, best: list[Span], none: float) -> Answer:
        """Return the best spans, or no answer where its score is higher by more than the threshold."""
        by = none - best[0].score if best else math.inf
        return Answer(best, by, by <= self.null_threshold)

    def answers(self, predictions: Predictions) -> list[str]:
        """Return the texts; "" where no answer is given."""
        return [answer.text for answer in predictions.outputs]

    def scores(self, predictions: Predictions) -> list[list[float]]:
        """Return the score of the best span and, where there may be no answer, how much higher that one's is."""
        return [
            [span.score for span in answer.spans[:1]] + ([] if answer.none_by is None else [answer.none_by])
            for answer in predictions.outputs
        ]

    def details(self, predictions: Predictions, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the text of each answer, where its characters begin and end, and the spans that come next.

        How probable a span is, is the softmax over the scores of the `n_best`, as in transformers' utils_qa.py.
        """
        return [answer.details(self.unanswerable) for answer in predictions.outputs]

    def right(self, predictions: Predictions) -> list[bool]:
        """Return whether an answer is one of the right ones, by the rule of the exact match."""
        pairs = zip(predictions.outputs, predictions.gold, strict=True)
        return [best_of(exact_match, answer.text, gold) == 1 for answer, gold in pairs]

    def hides(self, value: Any) -> bool:
        """Return whether the answers are left out: where each question has one, no answer is none, too."""
        return super().hides(value) or not (self.unanswerable or self.label(value)["text"])

    def stand_in(self, row: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Return an answer of no words."""
        return {"text": [""], "answer_start": [0]}

    def is_degenerate(self, predictions: Predictions) -> bool:
        """Return True for one text for everything."""
        return len(set(self.answers(predictions))) == 1

    @classmethod
    def example(cls) -> KindExample:
        """Return four questions, one of which has no answer; one context is longer than a small model reads."""
        options = {"unanswerable": True, "overlap": 8}
        task = Task("example", ["f1", "exact_match"], kind=cls.name, options=options, generator="none")
        long = "it rained for days in the north of the land, and the dog slept in the old barn behind the house."
        asked = [
            ("who sang?", "a bird sang loudly.", "a bird"),
            ("where did the dog sleep?", long, "in the old barn"),
            ("who flew?", "a dog slept.", None),
            ("what did she eat?", "she ate bread.", "bread"),
        ]
        labels = [
            {"text": [text] if text else [], "answer_start": [context.index(text)] if text else []}
            for _, context, text in asked
        ]
        questions, contexts, texts = (list(column) for column in zip(*asked, strict=True))
        rows = Dataset.from_dict({"question": questions, "context": contexts, "label": labels})
        found = [Answer([Span(text, 0, 0, 1.0)], -1.0) if text else Answer([], 1.0, False) for text in texts]
        perfect = Predictions(torch.arange(4), found, [label["text"] for label in labels])
        return KindExample(cls(task, **options), rows, perfect)  # type: ignore[arg-type]


def _as_table(answers: Any) -> dict[str, list[Any]]:
    """Return SQuAD's list of answers as the Hub's table."""
    whole = isinstance(answers, list | tuple) and all(isinstance(one, Mapping) for one in answers)
    require(whole, f"answers {answers!r}; allowed is a list of tables, each with text and answer_start")
    for one in answers:
        lacking = [name for name in ("text", "answer_start") if name not in one]
        require(not lacking, f"answers: {dict(one)!r} without {' and '.join(lacking)}")
    return {name: [one[name] for one in answers] for name in ("text", "answer_start")}


def _in_context(context: str, label: Mapping[str, Sequence[Any]]) -> bool:
    places = zip(label["text"], label["answer_start"], strict=True)
    return all(start >= 0 and context[start : start + len(text)] == text for text, start in places)
