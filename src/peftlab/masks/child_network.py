"""The child network that Child-Tuning D tunes, as a file and as facts for the record."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import safetensors.torch
import torch
from torch import Tensor

from peftlab.errors import UserError, prefix_errors, require
from peftlab.files import content_sha256, write_bytes_atomic
from peftlab.masks.packing import pack, unpack
from peftlab.tensor_files import FACTS, read_tensor_file

FILE_NAME = "child_network.safetensors"


@dataclass(frozen=True, eq=False)
class ChildNetwork:
    """Masks of the weights that are tuned, by parameter, and the smallest Fisher information among them."""

    files: ClassVar[tuple[str, ...]] = (FILE_NAME,)

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

    def save(self, folder: Path) -> list[Path]:
        """Write the masks, one bit a weight, into a run's folder; return the file."""
        file = folder / FILE_NAME
        packed = {name: pack(mask) for name, mask in self.masks.items()}
        shapes = {name: list(mask.shape) for name, mask in self.masks.items()}
        facts = {"examples": self.examples, "threshold": self.threshold, "shapes": shapes}
        # One entry: safetensors writes several in an order that changes from file to file.
        write_bytes_atomic(file, safetensors.torch.save(packed, metadata={FACTS: json.dumps(facts)}))
        return [file]

    @classmethod
    def load(cls, path: Path) -> "ChildNetwork":
        """Read the file `path`, or that of the folder `path`.

        Raises:
            UserError: naming the file: it is missing, no safetensors file, or not one that `save` wrote.
        """
        file = path / FILE_NAME if path.is_dir() else path
        with prefix_errors(f"child network {file}: "):
            content = read_tensor_file(file, hash_required=False)
            try:
                shapes = {name: torch.Size(shape) for name, shape in content.facts["shapes"].items()}
                lacking = shapes.keys() - content.tensors.keys()
                require(not lacking, f"cannot be read (no tensor {', '.join(lacking)})")
                masks = {name: unpack(content.tensors[name], shape) for name, shape in shapes.items()}
                require(bool(masks), "holds no masks")
                return cls(masks, float(content.facts["threshold"]), int(content.facts["examples"]))
            except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
                raise UserError(f"holds no masks with shapes, threshold and examples ({error})") from error

    @classmethod
    def fingerprint(cls, path: Path) -> str | None:
        """Return the SHA-256 of the file that `load` reads, None where there is none."""
        return content_sha256(path / FILE_NAME if path.is_dir() else path)

    def facts(self) -> dict[str, Any]:
        """Return nothing: the delta of a strict child network brings its masks along."""
        return {}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> None:
        """Return None; see `facts`."""

    def describe(self) -> dict[str, Any]:
        """Return the facts for a run's record: examples, threshold, and how many weights were kept of how many."""
        return {
            "examples": self.examples,
            "threshold": self.threshold,
            "kept": self.kept,
            "entries": self.entries,
            "density": self.kept / self.entries,
        }

    def summary(self) -> str:
        """Return how many weights were kept in a line."""
        share = 100 * self.kept / self.entries
        return f"child network by {self.examples} examples: {self.kept:,} of {self.entries:,} weights ({share:.1f} %)"
