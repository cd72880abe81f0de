"""The heads of all layers whose scaling vectors are longest, and the file that keeps them (LoFiT)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from peftlab.errors import require
from peftlab.files import content_sha256, write_text_atomic
from peftlab.heads.selection import ChosenHeads, HeadSelection
from peftlab.options.schema import read_json

FILE_NAME = "scaled_heads.json"


@dataclass(frozen=True)
class ScaledHeads:
    """The norms [L, H] of all heads' scaling vectors, and the chosen heads of each layer, ascending."""

    files: ClassVar[tuple[str, ...]] = (FILE_NAME,)

    norms: tuple[tuple[float, ...], ...]
    heads: tuple[tuple[int, ...], ...]

    def save(self, folder: Path) -> list[Path]:
        """Write the choice into a run's folder; return the file."""
        file = folder / FILE_NAME
        write_text_atomic(file, json.dumps({**self.facts(), "norms": [list(layer) for layer in self.norms]}) + "\n")
        return [file]

    @classmethod
    def load(cls, path: Path) -> "ScaledHeads":
        """Read the file `path`, or that of the folder `path`; raises UserError naming the file."""
        return read_json(_file(path), "selection of LoFiT", _from_file)

    @classmethod
    def fingerprint(cls, path: Path) -> str | None:
        """Return the SHA-256 of the file that `load` reads, None where there is none."""
        return content_sha256(_file(path))

    def facts(self) -> dict[str, Any]:
        """Return the chosen heads of each layer."""
        return ChosenHeads(self.heads).facts()

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> ChosenHeads:
        """Return the heads that a stored delta names."""
        return HeadSelection.from_facts(facts)

    def describe(self) -> dict[str, Any]:
        """Return the facts for a run's record: heads of each layer, and that labels of the run's examples were read."""
        return {**self.facts(), "heads_by_layer": [len(layer) for layer in self.heads], "labels": "shots"}

    def summary(self) -> str:
        """Return how many heads were chosen, by what, in a line."""
        counts = " ".join(str(len(layer)) for layer in self.heads)
        return f"heads by the norm of their scaling vectors: {sum(map(len, self.heads))}, layer by layer {counts}"


def longest(norms: Tensor, share: float) -> ScaledHeads:
    """Return the heads with the largest norms of all layers [L, H], ties going to the lower layer and head.

    Args:
        norms: float64 [L, H].
        share: of all heads, rounded down, at least one.
    """
    layers, size = norms.shape
    count = max(1, int(share * layers * size))
    best = norms.flatten().argsort(descending=True, stable=True)[:count].sort().values.tolist()
    heads = tuple(tuple(number % size for number in best if number // size == layer) for layer in range(layers))
    return ScaledHeads(tuple(map(tuple, norms.tolist())), heads)


def _from_file(found: Any) -> ScaledHeads:
    require(isinstance(found, Mapping), f"it holds no selection, found {found!r}"[:200])
    heads, norms = ScaledHeads.from_facts(found).heads, found.get("norms")
    valid = isinstance(norms, list) and len(norms) == len(heads) and all(_numbers(layer) for layer in norms)
    require(valid, f"`norms` lists numbers for each layer, found {norms!r}"[:200])
    return ScaledHeads(tuple(map(tuple, norms or [])), heads)


def _numbers(layer: Any) -> bool:
    return isinstance(layer, list) and all(type(number) in (int, float) for number in layer)


def _file(path: Path) -> Path:
    return path / FILE_NAME if path.is_dir() else path
