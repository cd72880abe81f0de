"""What every modality promises: rows become a split of examples, and examples a batch of tensors."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

import torch
from datasets import Dataset
from torch import Tensor

Example = dict[str, Any]
Batch = dict[str, Any]  # tensors, `index` [B] of B examples among them, and what else a kind of task needs


class Split(torch.utils.data.Dataset[Example], ABC):
    """The examples of one split, encoded."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, index: int) -> Example: ...

    @property
    @abstractmethod
    def lengths(self) -> Sequence[int]:
        """The size of each example, so that examples of like size can share a batch."""

    @property
    @abstractmethod
    def truncated_share(self) -> float:
        """The share of examples that lost a part to the largest allowed size, in [0, 1]."""

    @property
    def num_sequences(self) -> int:
        """How many sequences a model reads: as many as examples, unless these are made of several."""
        return len(self)

    @abstractmethod
    def select(self, indices: Sequence[int]) -> "Split":
        """Return a split of the examples of these rows, in this order; its `index` counts anew."""


class Encoder(Protocol):
    """Turns rows into examples and examples into batches, for one backbone."""

    def fingerprint(self) -> Hashable:
        """Return what decides how a row is encoded."""

    def encode(self, rows: Dataset) -> Split:
        """Return the rows as a split; the column `label` goes with them."""

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Return a batch of examples of unlike sizes."""


def num_examples(batch: Mapping[str, Any]) -> int:
    """Return the number of examples in a batch, each of which may be several sequences."""
    return len(batch["index"])


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return a batch whose tensors lie on `device`."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}


def content_hash(rows: Dataset) -> str:
    """Return the SHA-256 of a split's texts and labels, in order: the same wherever they came from."""
    digest = hashlib.sha256()
    for column in sorted(rows.column_names):
        digest.update(json.dumps([column, rows[column][:]]).encode())
    return digest.hexdigest()
