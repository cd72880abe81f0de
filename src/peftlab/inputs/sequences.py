"""A split whose examples are one or more sequences each: windows of a long text, one for each choice, words."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Any, ClassVar, Protocol

import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from peftlab.inputs.encoder import Example, Split, content_hash
from peftlab.inputs.token_cache import Tensors, cached, check_cuts
from peftlab.inputs.tokens import tokenizer_fingerprint, warn_if_truncated

FORMAT = 1
CHUNK = 512
OUTSIDE = -1  # what a token value is for pads, and where it means nothing
_TOKEN = "token."


@dataclass(frozen=True)
class Sequences:
    """One example as token ids: `ids`, `types` and each of `tokens` hold a list for each of its sequences."""

    ids: list[list[int]]
    types: list[list[int]]
    tokens: dict[str, list[list[int]]]
    truncated: bool


class Layout(Protocol):
    """How a kind of task lays a row out as sequences: a frozen dataclass, whose fields decide it.

    `token_values` names what it says of each token, whole numbers from 0, or `OUTSIDE`.
    """

    token_values: ClassVar[tuple[str, ...]]

    def arrange(
        self, rows: Mapping[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int
    ) -> Iterator[Sequences]:
        """Yield the sequences of each row, of at most `max_length` tokens each, special tokens included."""


@dataclass(frozen=True)
class SequenceSplit(Split):
    """N examples of M sequences in all, T tokens one after the other.

    Attributes:
        ids: token ids, int32 [T].
        offsets: where each sequence begins and the last ends, int64 [M + 1].
        first: which sequence each example begins with, int64 [N + 1].
        type_ids: token types, uint8 [T]; None for a tokenizer that has none.
        tokens: what the layout says of each token, int32 [T] each.
        truncated: which examples lost tokens to the maximal length, bool [N].
        rows: the examples as their source has them.
    """

    ids: Tensor
    offsets: Tensor
    first: Tensor
    type_ids: Tensor | None
    tokens: dict[str, Tensor]
    truncated: Tensor
    rows: Dataset

    def __len__(self) -> int:
        return len(self.truncated)

    def __getitem__(self, index: int) -> Example:
        """Return the sequences of an example: lists of int64 [S] by name, `row` and `index` []."""
        parts = self._parts(index)
        example: Example = {"input_ids": [self.ids[part].long() for part in parts]}
        if self.type_ids is not None:
            example["token_type_ids"] = [self.type_ids[part].long() for part in parts]
        for name, values in self.tokens.items():
            example[name] = [values[part].long() for part in parts]
        return example | {"row": self.rows[index], "index": torch.tensor(index)}

    @cached_property
    def lengths(self) -> list[int]:
        """Return the number of tokens of each example's longest sequence."""
        sizes, first = self.offsets.diff().tolist(), self.first.tolist()
        return [max(sizes[begin:end]) for begin, end in pairwise(first)]

    @property
    def truncated_share(self) -> float:
        """Return the share of examples that lost tokens, in [0, 1]."""
        return self.truncated.float().mean().item() if len(self) else 0.0

    @property
    def num_sequences(self) -> int:
        """Return M."""
        return len(self.offsets) - 1

    def select(self, indices: Sequence[int]) -> "SequenceSplit":
        """Return a split of these examples, in this order; its `index` counts anew."""
        parts = [part for index in indices for part in self._parts(index)]
        counts = [int(self.first[index + 1] - self.first[index]) for index in indices]

        def taken(values: Tensor) -> Tensor:
            return torch.cat([values[part] for part in parts])

        return SequenceSplit(
            ids=taken(self.ids),
            offsets=_cuts([part.stop - part.start for part in parts]),
            first=_cuts(counts),
            type_ids=None if self.type_ids is None else taken(self.type_ids),
            tokens={name: taken(values) for name, values in self.tokens.items()},
            truncated=self.truncated[torch.tensor(list(indices), dtype=torch.long)],
            rows=self.rows.select(indices),
        )

    def _parts(self, index: int) -> list[slice]:
        begin, end = int(self.first[index]), int(self.first[index + 1])
        cuts = self.offsets[begin : end + 1].tolist()
        return [slice(start, stop) for start, stop in pairwise(cuts)]


def arrange(
    rows: Dataset, layout: Layout, tokenizer: PreTrainedTokenizerBase, max_length: int, cache_dir: Path | None = None
) -> SequenceSplit:
    """Return the rows as a layout has them, from the cache where they were made before.

    Args:
        rows: the columns that the layout reads, and whatever else stays with them.
        layout: how a row becomes sequences.
        tokenizer: a fast tokenizer; it is left as it is.
        max_length: longest sequence in tokens, special tokens included.
        cache_dir: where token ids are kept; None keeps nothing.
    """

    def define() -> dict[str, Any]:
        return {
            "format": [FORMAT, type(layout).__name__, asdict(layout)],  # type: ignore[call-overload]
            "content": content_hash(rows),
            "tokenizer": tokenizer_fingerprint(tokenizer),
            "max_length": max_length,
        }

    tensors = cached(define, cache_dir, lambda: _make(rows, layout, copy.deepcopy(tokenizer), max_length), _check)
    split = SequenceSplit(
        **{name: tensors[name] for name in ("ids", "offsets", "first", "truncated")},
        type_ids=tensors.get("type_ids"),
        tokens={name: tensors[_TOKEN + name] for name in layout.token_values},
        rows=rows,
    )
    warn_if_truncated(split.truncated_share, max_length)
    return split


def _make(rows: Dataset, layout: Layout, tokenizer: PreTrainedTokenizerBase, max_length: int) -> Tensors:
    with_types = "token_type_ids" in tokenizer.model_input_names
    flat: dict[str, list[Tensor]] = {name: [] for name in ("ids", "type_ids", *layout.token_values)}
    lengths: list[int] = []
    counts: list[int] = []
    truncated: list[bool] = []
    for start in range(0, len(rows), CHUNK):
        examples = list(layout.arrange(rows[start : start + CHUNK], tokenizer, max_length))
        flat["ids"].append(_flat((example.ids for example in examples), torch.int32))
        flat["type_ids"].append(_flat((example.types for example in examples), torch.uint8))
        for name in layout.token_values:
            flat[name].append(_flat((example.tokens[name] for example in examples), torch.int32))
        lengths += [len(sequence) for example in examples for sequence in example.ids]
        counts += [len(example.ids) for example in examples]
        truncated += [example.truncated for example in examples]
    joined = {name: torch.cat(parts) for name, parts in flat.items()}
    ids, types = joined.pop("ids"), joined.pop("type_ids")
    return {
        "ids": ids,
        "offsets": _cuts(lengths),
        "first": _cuts(counts),
        "truncated": torch.tensor(truncated),
        **({"type_ids": types} if with_types else {}),
        **{_TOKEN + name: values for name, values in joined.items()},
    }


def _check(tensors: Tensors) -> None:
    check_cuts(tensors, "ids", "offsets")
    if (
        int(tensors["first"][-1]) != len(tensors["offsets"]) - 1
        or len(tensors["first"]) != len(tensors["truncated"]) + 1
    ):
        raise ValueError("its tensors do not fit together")


def _flat(examples: Iterator[list[list[int]]], dtype: torch.dtype) -> Tensor:
    return torch.tensor(list(chain.from_iterable(chain.from_iterable(examples))), dtype=dtype)


def _cuts(sizes: Sequence[int]) -> Tensor:
    return torch.tensor([0, *sizes]).cumsum(0)
