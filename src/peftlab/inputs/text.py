"""Text as input: sentences, pairs and what else is made of sequences of tokens, padded into batches."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import torch
from datasets import Dataset, List, Value
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from peftlab.errors import UserError, require
from peftlab.inputs.encoder import Batch, Encoder, Example
from peftlab.inputs.sequences import OUTSIDE, Layout, SequenceSplit, arrange
from peftlab.inputs.tokens import TokenisedSplit, tokenise, tokenizer_fingerprint

Side = Literal["left", "right"]
_TEXT = Value("string")
_ANSWERS = ("id", "label", "answers")  # columns of texts that no model reads


@dataclass(frozen=True)
class TextEncoder:
    """A tokenizer with what it is to do.

    Attributes:
        tokenizer: the backbone's, a fast one.
        max_length: longest example in tokens, special tokens included.
        cache_dir: where token ids are kept on disk; None keeps nothing.
        side: where pads stand.

    Raises:
        UserError: a `max_length` that the tokenizer does not allow, or a tokenizer without a pad token.
    """

    tokenizer: PreTrainedTokenizerBase
    max_length: int = 128
    cache_dir: Path | None = None
    side: Side = "right"

    def __post_init__(self) -> None:
        shortest, longest = self.tokenizer.num_special_tokens_to_add(pair=True) + 2, self.tokenizer.model_max_length
        if not shortest <= self.max_length <= longest:
            raise UserError(f"data.max_length={self.max_length}: this tokenizer allows {shortest} to {longest} tokens")
        name = type(self.tokenizer).__name__
        require(self.tokenizer.pad_token_id is not None, f"tokenizer {name}: it has no pad token")

    def fingerprint(self) -> Hashable:
        """Return what decides the token ids of a row."""
        return tokenizer_fingerprint(self.tokenizer), self.max_length

    def encode(self, rows: Dataset) -> TokenisedSplit:
        """Return the rows as token ids, from the cache where they were made before.

        Args:
            rows: columns `text_a`, perhaps `text_b`, and `label`.
        """
        return tokenise(rows, self.tokenizer, self.max_length, self.cache_dir)

    def arrange(self, rows: Dataset, layout: Layout) -> SequenceSplit:
        """Return the rows as a layout has them, from the cache where they were made before."""
        return arrange(rows, layout, self.tokenizer, self.max_length, self.cache_dir)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Return a batch of examples, padded with the tokenizer's pad token."""
        pad = self.tokenizer.pad_token_id
        assert isinstance(pad, int)
        return collate(examples, pad, self.side)

    def describe(self) -> dict[str, Any]:
        """Return the longest length, for a run's record."""
        return {"max_length": self.max_length}

    def contents(self, rows: Dataset) -> list[Hashable]:
        """Return the texts of each row, one after the other, without its answer and its name."""
        return [*_texts(rows)]

    def titles(self, rows: Dataset) -> list[str]:
        """Return the texts of each row, as one."""
        return [" | ".join(texts) for texts in _texts(rows)]

    def num_empty(self, rows: Dataset) -> int:
        """Return how many rows hold no text."""
        return sum(not "".join(texts).strip() for texts in _texts(rows))


def text_encoder(encoder: Encoder) -> TextEncoder:
    """Return an encoder that reads text, for kinds of task that need to know.

    Raises:
        UserError: it reads something else.
    """
    require(isinstance(encoder, TextEncoder), f"{type(encoder).__name__}: this kind of task needs a backbone of texts")
    assert isinstance(encoder, TextEncoder)
    return encoder


def _texts(rows: Dataset) -> list[tuple[str, ...]]:
    read = [name for name, kind in rows.features.items() if name not in _ANSWERS and kind in (_TEXT, List(_TEXT))]
    columns = [[value if isinstance(value, list) else [value] for value in rows[name][:]] for name in read]
    return [tuple(chain.from_iterable(row)) for row in zip(*columns, strict=True)]


def collate(examples: Sequence[Example], pad_token_id: int, side: Side = "right") -> Batch:
    """Return a batch of B examples of M sequences in all, padded to the longest of these, S tokens.

    Args:
        examples: items of a `TokenisedSplit`, each one sequence, or of a `SequenceSplit`.
        pad_token_id: fills `input_ids`; token types are filled with 0, other values of tokens with `OUTSIDE`.
        side: where the pads stand.

    Returns:
        `input_ids`, `attention_mask` (1 = token, 0 = pad) and, where the examples have them, `token_type_ids` and what
        else is said of tokens, all int64 [M, S]; `index` [B], the examples' places in their split. Of a
        `TokenisedSplit` `labels` [B]; of a `SequenceSplit` `sequences` [B], how many each example has, and `rows`.
    """
    several = isinstance(examples[0]["input_ids"], list)
    fills = {"input_ids": pad_token_id, "attention_mask": 0, "token_type_ids": 0}
    batch: Batch = {}
    for name in examples[0]:
        if name in ("labels", "index", "row"):
            continue
        values = [example[name] for example in examples]
        rows = list(chain.from_iterable(values)) if several else values
        fill = fills.get(name, OUTSIDE)
        batch[name] = pad_sequence(rows, batch_first=True, padding_value=fill, padding_side=side)
        if name == "input_ids":
            ones = [torch.ones_like(row) for row in rows]
            batch["attention_mask"] = pad_sequence(ones, batch_first=True, padding_side=side)
    if several:
        batch["sequences"] = torch.tensor([len(example["input_ids"]) for example in examples])
        batch["rows"] = [example["row"] for example in examples]
    for name in ("labels", "index"):
        if name in examples[0]:
            batch[name] = torch.stack([example[name] for example in examples])
    return batch
