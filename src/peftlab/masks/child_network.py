"""The child network that Child-Tuning D tunes, as a file and as facts for the record."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from peftlab.files import write_bytes_atomic
from peftlab.masks.packing import pack

FILE_NAME = "child_network.safetensors"


@dataclass(frozen=True, eq=False)
class ChildNetwork:
    """Masks of the weights that are tuned, by parameter, and the smallest Fisher information among them."""

    masks: Mapping[str, Tensor]
    threshold: float
    examples: int

    @property
    def kept(self) -> int:
        """Return how many weights are tuned."""
        return sum(int(mask.sum()) for mask in self.masks.values())

    @property
    def entries(self) -> int:
        """Return how many weights there were to choose from."""
        return sum(mask.numel() for mask in self.masks.values())

    def save(self, path: Path) -> Path:
        """Write the masks, one bit a weight, into the folder `path`; return the file."""
        file = path / FILE_NAME
        shapes = {name: "x".join(map(str, mask.shape)) for name, mask in self.masks.items()}
        packed = {name: pack(mask) for name, mask in self.masks.items()}
        write_bytes_atomic(file, safetensors.torch.save(packed, metadata={"format": "pt", **shapes}))
        return file

    def describe(self) -> dict[str, Any]:
        """Return the facts for a run's record: examples, threshold, and how many weights were kept of how many."""
        return {
            "examples": self.examples,
            "threshold": self.threshold,
            "kept": self.kept,
            "entries": self.entries,
            "density": self.kept / self.entries,
        }
