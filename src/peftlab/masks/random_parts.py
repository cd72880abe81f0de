"""Parts of a backbone that chance chooses: heads of all layers, and inner values of their feed-forwards (S2FT)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch

from peftlab.errors import require
from peftlab.files import content_sha256, write_text_atomic
from peftlab.options.schema import read_json
from peftlab.streams import Stream, seed_of

FILE_NAME = "random_parts.json"
Parts = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class RandomParts:
    """The chosen heads and inner values of each layer, ascending."""

    files: ClassVar[tuple[str, ...]] = (FILE_NAME,)

    heads: Parts
    inner: Parts

    def save(self, folder: Path) -> list[Path]:
        """Write the choice into a run's folder; return the file."""
        file = folder / FILE_NAME
        write_text_atomic(file, json.dumps(self.facts()) + "\n")
        return [file]

    @classmethod
    def load(cls, path: Path) -> "RandomParts":
        """Read the file `path`, or that of the folder `path`; raises UserError naming the file."""
        return read_json(_file(path), "draw of S2FT", cls.from_facts)

    @classmethod
    def fingerprint(cls, path: Path) -> str | None:
        """Return the SHA-256 of the file that `load` reads, None where there is none."""
        return content_sha256(_file(path))

    def facts(self) -> dict[str, Any]:
        """Return the choice as plain values."""
        return {"heads": [list(layer) for layer in self.heads], "inner": [list(layer) for layer in self.inner]}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "RandomParts":
        """Return the choice that `facts` made plain; raises UserError for anything else."""
        return cls(_numbers(facts, "heads"), _numbers(facts, "inner"))

    def describe(self) -> dict[str, Any]:
        """Return the facts for a run's record: heads of each layer, and how many inner values each has."""
        return {"heads": [list(layer) for layer in self.heads], "inner": [len(layer) for layer in self.inner]}

    def summary(self) -> str:
        """Return how much was drawn in a line."""
        heads, inner = (sum(map(len, parts)) for parts in (self.heads, self.inner))
        return f"drawn by chance: {heads:,} heads and {inner:,} inner values of {len(self.heads)} layers"


def draw(share: float, layers: int, size: int, seed: int, part: int) -> Parts:
    """Return by layer which of `layers` x `size` parts are drawn without replacement, over all layers at once.

    Args:
        share: of all parts, rounded down, at least one; 0: none.
        layers: how many there are.
        size: parts of a layer.
        seed: the run's.
        part: 0 for heads, 1 for inner values: draws of their own.
    """
    count = max(1, int(share * layers * size)) if share else 0
    generator = torch.Generator().manual_seed(seed_of(Stream.RANDOM_PARTS, seed, part))
    drawn = torch.randperm(layers * size, generator=generator)[:count].sort().values.tolist()
    return tuple(tuple(number % size for number in drawn if number // size == layer) for layer in range(layers))


def _numbers(facts: Mapping[str, Any], name: str) -> Parts:
    found = facts.get(name) if isinstance(facts, Mapping) else None
    valid = isinstance(found, list) and all(
        isinstance(layer, list) and all(type(number) is int for number in layer) for layer in found
    )
    require(valid, f"`{name}` lists numbers for each layer, found {found!r}"[:200])
    return tuple(tuple(layer) for layer in found or [])


def _file(path: Path) -> Path:
    return path / FILE_NAME if path.is_dir() else path
