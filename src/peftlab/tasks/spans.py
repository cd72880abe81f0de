"""Spans of a context that is read in windows: where they lie among tokens, and which of them answer best."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

SHOWN = 5  # of the best spans


class Span(NamedTuple):
    """A text, its place among the context's characters, and its score: the sum of both ends' outputs."""

    text: str
    start: int
    end: int
    score: float


@dataclass(frozen=True)
class Answer:
    """The best spans for one question, the best first.

    Attributes:
        spans: of unlike texts.
        none_by: the score that the question has no answer, above the best span's; None: each question has one.
        given: whether the best span is the answer; False: that there is none.
    """

    spans: Sequence[Span]
    none_by: float | None = None
    given: bool = True

    @property
    def text(self) -> str:
        """The answer, "" for none."""
        return self.spans[0].text if self.given and self.spans else ""

    def details(self, may_be_none: bool) -> dict[str, Any]:
        """Return the answer in plain values, with the best spans and their share of the softmax over all."""
        shares = torch.tensor([span.score for span in self.spans]).softmax(0).tolist()
        best = [
            {"text": span.text, "start": span.start, "end": span.end, "probability": share}
            for span, share in zip(self.spans[:SHOWN], shares, strict=False)
        ]
        place = best[0] if self.given and best else {"start": None, "end": None, "probability": None}
        none = {"no_answer_by": self.none_by} if may_be_none else {}
        return {
            "answer": self.text,
            **{name: place[name] for name in ("start", "end", "probability")},
            **none,
            "best": best,
        }


def null_positions(batch: Mapping[str, Any], cls_token_id: Any) -> Tensor:
    """Return where each sequence says that it holds no answer, int64 [M]: at [CLS], else at its last token.

    Tokenizers without a [CLS] are those of decoders, whose first token has seen nothing of the text.
    """
    real = batch["attention_mask"].bool()
    last = real.shape[1] - 1 - real.flip(1).int().argmax(1)
    if not isinstance(cls_token_id, int):
        return last
    found = (batch["input_ids"] == cls_token_id) & real
    return torch.where(found.any(1), found.int().argmax(1), last)


def span_positions(batch: Mapping[str, Any], nulls: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first and last token of each example's first answer in each window, int64 [M]; `nulls` without one."""
    start, end = batch["start"], batch["end"]
    spans = [_first_answer(row["label"]) for row in batch["rows"]]
    owners = torch.arange(len(spans)).repeat_interleave(batch["sequences"])
    begin, stop = torch.tensor(spans)[owners].unsqueeze(-1).unbind(1)
    inside, places = end > start.clamp(min=0), torch.arange(start.shape[1])
    first = torch.where(inside & (start <= begin), places, -1).amax(1)
    last = torch.where(inside & (end >= stop), places, len(places)).amin(1)
    holds = (begin >= 0)[:, 0] & (first >= 0) & (last < len(places)) & (last >= first)
    return torch.where(holds, first, nulls), torch.where(holds, last, nulls)


def best_spans(start: Tensor, end: Tensor, batch: Mapping[str, Any], n_best: int, longest: int) -> list[list[Span]]:
    """Return for each example at most `n_best` spans of all its windows, the best first, of unlike texts.

    A span begins at a token that its window holds with most context.

    Args:
        start, end: outputs for begins and ends, float32 [M, S] on the CPU.
        batch: what a collated batch of windows holds.
        n_best: begins and ends that are tried in each window.
        longest: tokens of a span.
    """
    first, after, owned = (batch[name].cpu() for name in ("start", "end", "owned"))
    inside = after > first.clamp(min=0)
    number = min(n_best, start.shape[1])
    start_scores, starts = start.masked_fill(~inside | (owned != 1), -torch.inf).topk(number)
    end_scores, ends = end.masked_fill(~inside, -torch.inf).topk(number)
    lengths = ends[:, None, :] - starts[:, :, None] + 1
    pairs = (start_scores[:, :, None] + end_scores[:, None, :]).masked_fill(
        (lengths < 1) | (lengths > longest), -torch.inf
    )
    scores, places = pairs.flatten(1).topk(min(n_best, number**2))
    begins = first.gather(1, starts.gather(1, places // number)).tolist()
    stops = after.gather(1, ends.gather(1, places % number)).tolist()
    windows = [list(zip(*row, strict=True)) for row in zip(scores.tolist(), begins, stops, strict=True)]
    found = []
    for row, several in zip(batch["rows"], batch["sequences"].tolist(), strict=True):
        mine, windows = windows[:several], windows[several:]
        tried = sorted((span for window in mine for span in window if span[0] > -torch.inf), key=lambda span: -span[0])
        found.append(_unlike(row["context"], tried, n_best))
    return found


def none_scores(start: Tensor, end: Tensor, batch: Mapping[str, Any]) -> list[float]:
    """Return for each example the score that it has no answer: the lowest of its windows' (Google's run_squad.py)."""
    nulls = batch["nulls"].cpu()[:, None]
    scores = (start.gather(1, nulls) + end.gather(1, nulls))[:, 0]
    return [part.min().item() for part in scores.split(batch["sequences"].tolist())]


def _unlike(context: str, tried: Sequence[tuple[float, int, int]], number: int) -> list[Span]:
    """Return the first `number` spans, scores and characters, that have a text of their own."""
    found: dict[str, Span] = {}
    for score, first, after in tried:
        text = context[first:after]
        blanks = len(text) - len(text.lstrip())  # a byte-level token begins with the blank before it
        if text.strip() and len(found) < number:
            found.setdefault(text.strip(), Span(text.strip(), first + blanks, after, score))
    return list(found.values())


def _first_answer(label: Mapping[str, Sequence[Any]]) -> tuple[int, int]:
    """Return where the first answer's characters begin and end; -1 where there is none."""
    if not label["text"]:
        return -1, -1
    start = label["answer_start"][0]
    return start, start + len(label["text"][0])
