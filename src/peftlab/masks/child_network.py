"""The child network that Child-Tuning D tunes, as a file and as facts for the record."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from peftlab.errors import UserError, require, told_as
from peftlab.files import write_bytes_atomic
from peftlab.masks.packing import pack, unpack

FILE_NAME = "child_network.safetensors"
_FACTS = ("threshold", "examples")


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
        facts = {name: repr(getattr(self, name)) for name in _FACTS}
        write_bytes_atomic(file, safetensors.torch.save(packed, metadata={"format": "pt", **facts, **shapes}))
        return file

    @classmethod
    def load(cls, path: Path) -> "ChildNetwork":
        """Read the file `path`, or that of the folder `path`.

        Raises:
            UserError: naming the file: it is missing, no safetensors file, or not one that `save` wrote.
        """
        file = path / FILE_NAME if path.is_dir() else path
        with told_as(f"child network {file}: "):
            try:
                packed = safetensors.torch.load_file(file)
                with safe_open(file, "pt") as content:
                    facts = content.metadata() or {}
            except (SafetensorError, OSError) as error:
                raise UserError(f"cannot be read ({error})") from error
            known = facts.keys() >= {*packed, *_FACTS} and len(packed) > 0
            require(known, "holds no masks with shapes, threshold and examples")
            masks = {name: unpack(bits, _shape(name, facts[name])) for name, bits in packed.items()}
            return cls(masks, float(facts["threshold"]), int(facts["examples"]))

    def describe(self) -> dict[str, Any]:
        """Return the facts for a run's record: examples, threshold, and how many weights were kept of how many."""
        return {
            "examples": self.examples,
            "threshold": self.threshold,
            "kept": self.kept,
            "entries": self.entries,
            "density": self.kept / self.entries,
        }


def _shape(name: str, text: str) -> torch.Size:
    sizes = text.split("x")
    require(all(size.isdigit() for size in sizes), f"the shape of {name} is {text!r}; allowed are sizes as in 2x3")
    return torch.Size(map(int, sizes))
