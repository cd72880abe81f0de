"""What every modality promises: rows become a split of examples, and examples a batch of tensors."""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Protocol

import torch
from datasets import Dataset, Image
from torch import Tensor

from peftlab.inputs.image_files import image_sha256

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

    def describe(self) -> dict[str, Any]:
        """Return what a run's record says of it."""

    def contents(self, rows: Dataset) -> list[Hashable]:
        """Return what a model is shown of each row: equal where the examples are."""

    def titles(self, rows: Dataset) -> list[str]:
        """Return what a person knows each row by."""

    def num_empty(self, rows: Dataset) -> int:
        """Return how many rows hold nothing."""


def num_examples(batch: Mapping[str, Any]) -> int:
    """Return the number of examples in a batch, each of which may be several sequences."""
    return len(batch["index"])


def num_tokens(batch: Mapping[str, Any]) -> Tensor:
    """Return how many tokens a batch holds, without pads, a scalar; 0 for images."""
    mask = batch.get("attention_mask")
    return torch.zeros((), dtype=torch.int64) if mask is None else mask.sum()


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Return a batch whose tensors lie on `device`."""
    return {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}


def content_hash(rows: Dataset) -> str:
    """Return the SHA-256 of a split's texts or images and labels, in order: the same wherever they came from.

    The names of rows of images are those of files, and no part of it.
    """
    digest = hashlib.sha256()
    images = {name for name, feature in rows.features.items() if isinstance(feature, Image)}
    for column in sorted(rows.column_names):
        if column in images:
            digest.update(json.dumps([column, [image_sha256(image) for image in rows[column]]]).encode())
        elif not (images and column == "id"):
            digest.update(json.dumps([column, rows[column][:]]).encode())
    return digest.hexdigest()
