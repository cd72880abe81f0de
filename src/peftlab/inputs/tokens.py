"""A split of one sequence and one label an example, as token ids in flat tensors."""

import copy
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from peftlab.errors import require
from peftlab.inputs.encoder import Split, content_hash
from peftlab.inputs.token_cache import Tensors, cached, check_cuts

log = logging.getLogger(__name__)

FORMAT = 1
CHUNK = 8192
WARN_TRUNCATED = 0.05


@dataclass(frozen=True)
class TokenisedSplit(Split):
    """N examples as token ids, one after the other.

    Attributes:
        ids: token ids of all examples, int32 [T].
        offsets: where each example begins and the last ends, int64 [N + 1].
        type_ids: token types, uint8 [T]; None for a tokenizer that has none, such as RoBERTa's.
        labels: class ids int64 [N], or scores float32 [N].
        truncated: which examples lost tokens to the maximal length, bool [N].
    """

    ids: Tensor
    offsets: Tensor
    type_ids: Tensor | None
    labels: Tensor
    truncated: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        """Return `input_ids` int64 [S], `token_type_ids` where there are any, `labels` [] and `index` []."""
        part = slice(int(self.offsets[index]), int(self.offsets[index + 1]))
        example = {"input_ids": self.ids[part].long()}
        if self.type_ids is not None:
            example["token_type_ids"] = self.type_ids[part].long()
        return example | {"labels": self.labels[index], "index": torch.tensor(index)}

    @cached_property
    def lengths(self) -> list[int]:
        """Return the number of tokens of each example."""
        return self.offsets.diff().tolist()

    @property
    def truncated_share(self) -> float:
        """Return the share of examples that lost tokens, in [0, 1]."""
        return self.truncated.float().mean().item() if len(self) else 0.0

    def select(self, indices: Sequence[int]) -> "TokenisedSplit":
        """Return a split of these examples, in this order; its `index` counts anew."""
        parts = [slice(int(self.offsets[index]), int(self.offsets[index + 1])) for index in indices]
        lengths = torch.tensor([0] + [part.stop - part.start for part in parts])
        rows = torch.tensor(list(indices), dtype=torch.long)
        return TokenisedSplit(
            ids=torch.cat([self.ids[part] for part in parts]),
            offsets=lengths.cumsum(0),
            type_ids=None if self.type_ids is None else torch.cat([self.type_ids[part] for part in parts]),
            labels=self.labels[rows],
            truncated=self.truncated[rows],
        )


def tokenise(
    dataset: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int, cache_dir: Path | None = None
) -> TokenisedSplit:
    """Return the tokenised split, from the cache where it was made before.

    The cache's file is named by the hash of all that defines it: the format, the texts and labels, the
    tokenizer's own content, and the maximal length. A damaged file is made anew.

    Args:
        dataset: columns `text_a`, perhaps `text_b`, and `label`.
        tokenizer: a fast tokenizer; it is left as it is, and what its file says about padding is not followed.
        max_length: longest example in tokens, special tokens included; a pair is cut at its longer sentence.
        cache_dir: where tokenised splits are kept; None keeps nothing.
    """

    def define() -> dict[str, Any]:
        return {
            "format": FORMAT,
            "content": content_hash(dataset),
            "tokenizer": tokenizer_fingerprint(tokenizer),
            "max_length": max_length,
        }

    def make() -> Tensors:
        split = _encode(dataset, copy.deepcopy(tokenizer), max_length)
        return {name: value for name, value in vars(split).items() if isinstance(value, Tensor)}

    split = _split(cached(define, cache_dir, make, _check))
    warn_if_truncated(split.truncated_share, max_length)
    return split


def warn_if_truncated(share: float, max_length: int) -> None:
    """Say it where more than a few examples lost tokens; `share` of them in [0, 1]."""
    if share > WARN_TRUNCATED:
        log.warning("%.1f %% of examples are cut to max_length=%d tokens", 100 * share, max_length)


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the SHA-256 of what a fast tokenizer does to a text, padding and truncation apart.

    Raises:
        UserError: a tokenizer without the `tokenizers` library behind it.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    require(backend is not None, f"tokenizer {type(tokenizer).__name__}: only fast tokenizers are supported")
    content: dict[str, Any] = json.loads(backend.to_str())  # type: ignore[union-attr]
    # These two are switched by each call, so they say who called last, not what the tokenizer is.
    content.pop("padding", None)
    content.pop("truncation", None)
    content["peftlab"] = [sorted(tokenizer.model_input_names), tokenizer.truncation_side]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _encode(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int) -> TokenisedSplit:
    with_types = "token_type_ids" in tokenizer.model_input_names
    ids: list[Tensor] = []
    types: list[Tensor] = []
    lengths: list[int] = [0]
    truncated: list[bool] = []
    for start in range(0, len(dataset), CHUNK):
        rows = dataset[start : start + CHUNK]
        encoded = tokenizer(
            rows["text_a"],
            rows.get("text_b"),
            truncation="longest_first",
            max_length=max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=with_types,
        )
        ids.append(_flat(encoded["input_ids"], torch.int32))
        if with_types:
            types.append(_flat(encoded["token_type_ids"], torch.uint8))
        lengths += [len(row) for row in encoded["input_ids"]]
        truncated += [bool(encoding.overflowing) for encoding in encoded.encodings or []]
    return TokenisedSplit(
        ids=torch.cat(ids),
        offsets=torch.tensor(lengths).cumsum(0),
        type_ids=torch.cat(types) if with_types else None,
        labels=torch.tensor(dataset["label"][:]),
        truncated=torch.tensor(truncated),
    )


def _flat(rows: list[list[int]], dtype: torch.dtype) -> Tensor:
    return torch.tensor(list(chain.from_iterable(rows)), dtype=dtype)


def _split(tensors: Tensors) -> TokenisedSplit:
    return TokenisedSplit(**{"type_ids": None, **tensors})  # type: ignore[arg-type]


def _check(tensors: Tensors) -> None:
    split = _split(tensors)
    check_cuts(tensors, "ids", "offsets")
    if len(split.offsets) != len(split) + 1:
        raise ValueError("its tensors do not fit together")
