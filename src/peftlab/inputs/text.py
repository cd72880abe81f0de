"""Text as input: sentences and pairs of them as token ids, padded into batches."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedTokenizerBase

from peftlab.errors import UserError, require
from peftlab.inputs.encoder import Batch, Example
from peftlab.inputs.tokens import TokenisedSplit, tokenise, tokenizer_fingerprint

Side = Literal["left", "right"]


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

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Return a batch of examples, padded with the tokenizer's pad token."""
        pad = self.tokenizer.pad_token_id
        assert isinstance(pad, int)
        return collate(examples, pad, self.side)


def collate(examples: Sequence[Example], pad_token_id: int, side: Side = "right") -> Batch:
    """Return a batch of B examples, padded to the longest of them, S tokens.

    Args:
        examples: items of a `TokenisedSplit`.
        pad_token_id: fills `input_ids`; token types are filled with 0.
        side: where the pads stand.

    Returns:
        `input_ids`, `attention_mask` (1 = token, 0 = pad) and, where the examples have them, `token_type_ids`,
        all int64 [B, S]; `labels` [B]; `index` [B], the examples' places in their split.
    """
    ids = [example["input_ids"] for example in examples]
    batch = {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad_token_id, padding_side=side),
        "attention_mask": pad_sequence([torch.ones_like(row) for row in ids], batch_first=True, padding_side=side),
    }
    if "token_type_ids" in examples[0]:
        types = [example["token_type_ids"] for example in examples]
        batch["token_type_ids"] = pad_sequence(types, batch_first=True, padding_side=side)
    for name in ("labels", "index"):
        batch[name] = torch.stack([example[name] for example in examples])
    return batch
