"""Images as input: decoded, brought to the size that a model reads, and normalised, by its own image processor."""

import hashlib
import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import BaseImageProcessor

from peftlab.inputs.encoder import Batch, Example, Split
from peftlab.inputs.image_files import decoded, image_sha256

MOST_KEPT = 2**28  # bytes of a split's pixels that stay in memory; of a larger one each look decodes anew


@dataclass(frozen=True)
class ImageSplit(Split):
    """N examples, an image and its class each.

    Attributes:
        rows: column `image`.
        labels: class ids, int64 [N].
        processor: the model's.
        pixels: float32 [N, C, H, W]; None where they are made at each look.
    """

    rows: Dataset
    labels: Tensor
    processor: BaseImageProcessor
    pixels: Tensor | None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Example:
        """Return `pixel_values` float32 [C, H, W], `labels` [] and `index` []."""
        found = pixels_of(self.processor, [self.rows[index]["image"]])[0] if self.pixels is None else self.pixels[index]
        return {"pixel_values": found, "labels": self.labels[index], "index": torch.tensor(index)}

    @property
    def lengths(self) -> Sequence[int]:
        """1 for each: all images are brought to one size."""
        return [1] * len(self)

    @property
    def truncated_share(self) -> float:
        """0: nothing is cut but what the processor crops from each."""
        return 0.0

    def select(self, indices: Sequence[int]) -> "ImageSplit":
        """Return a split of these examples, in this order; its `index` counts anew."""
        places = torch.tensor(list(indices), dtype=torch.long)
        kept = None if self.pixels is None else self.pixels[places]
        return ImageSplit(self.rows.select(indices), self.labels[places], self.processor, kept)


@dataclass(frozen=True)
class ImageEncoder:
    """An image processor with what it is to do; all images come out in one size, so that there are no pads."""

    processor: BaseImageProcessor

    def fingerprint(self) -> Hashable:
        """Return what decides the pixels of a row."""
        settings = json.dumps(self.processor.to_dict(), sort_keys=True, default=str)
        return hashlib.sha256(settings.encode()).hexdigest()

    def encode(self, rows: Dataset) -> ImageSplit:
        """Return the rows, columns `image` and `label`, as pixels; a large split's are made when they are looked at.

        Raises:
            UserError: a file that is no image.
        """
        size = pixels_of(self.processor, [rows[0]["image"]]).nbytes if len(rows) else 0
        kept = None
        if size * len(rows) <= MOST_KEPT:
            kept = torch.cat([pixels_of(self.processor, part["image"]) for part in rows.iter(256)])
        return ImageSplit(rows, torch.tensor(rows["label"][:]), self.processor, kept)

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Return `pixel_values` float32 [B, C, H, W], `labels` [B] and `index` [B]."""
        return {name: torch.stack([example[name] for example in examples]) for name in examples[0]}

    def describe(self) -> dict[str, Any]:
        """Return the processor's class and its settings, for a run's record."""
        return {"image_processor": type(self.processor).__name__, "image_size": _plain_size(self.processor)}

    def contents(self, rows: Dataset) -> list[Hashable]:
        """Return the SHA-256 of each image's file."""
        return [image_sha256(image) for image in rows["image"]]

    def titles(self, rows: Dataset) -> list[str]:
        """Return each image's name in its source; where there is none, the first digits of its SHA-256."""
        if "id" in rows.column_names:
            return list(rows["id"][:])
        return [f"image {image_sha256(image)[:8]}" for image in rows["image"]]

    def num_empty(self, rows: Dataset) -> int:
        """Return 0: a file without an image is refused."""
        return 0


def pixels_of(processor: BaseImageProcessor, images: Sequence[Any]) -> Tensor:
    """Return stored images as a model reads them, float32 [B, C, H, W]; C is 3 unless the processor's mean has one.

    Raises:
        UserError: a file that is no image.
    """
    mean: Any = getattr(processor, "image_mean", None)
    mode = "L" if isinstance(mean, list | tuple) and len(mean) == 1 else "RGB"
    found: Tensor = processor([decoded(image, mode) for image in images], return_tensors="pt")["pixel_values"]
    return found


def largest_side(processor: BaseImageProcessor) -> int:
    """Return the longest side, in pixels, that a processor's settings name; 0 where they name none."""
    named = (dict(getattr(processor, name, None) or {}) for name in ("size", "crop_size"))
    return max((int(value) for one in named for value in one.values() if value is not None), default=0)


def sides(size: int | Sequence[int]) -> tuple[int, int]:
    """Return height and width of what a config gives as one number for both, or as two."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _plain_size(processor: BaseImageProcessor) -> dict[str, int]:
    size: Any = getattr(processor, "crop_size", None) or getattr(processor, "size", None) or {}
    return {name: int(value) for name, value in dict(size).items() if value is not None}
