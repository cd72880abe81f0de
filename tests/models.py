"""Tiny random backbones and examples for tests that need a model but no files."""

from collections.abc import Sequence
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
import torch

from peftlab.backbones.architecture import architecture, known_types
from peftlab.backbones.loading import Backbone, BackboneSpec, load_backbone
from peftlab.backbones.tiny import character_tokenizer, random_model
from peftlab.check.small import SIZES, batch, logits, small_sizes, with_biases
from peftlab.errors import MissingPackageError
from peftlab.output_layer import TOKEN_CLASSIFICATION, OutputLayer, classes, image_classes, score, tags
from peftlab.strategies.contract import Strategy
from peftlab.strategies.registry import create_strategy

TEXT_TYPES = [kind for kind in known_types() if architecture(kind).reads == "texts"]
TEXTS = (["every bird sang", "no dog slept in the old garden"], ["a sparrow sang", "no puppy slept"])

__all__ = [
    "SIZES",
    "TEXTS",
    "TEXT_TYPES",
    "batch",
    "logits",
    "output_layer",
    "strategy_or_skip",
    "tiny",
    "tiny_spec",
    "write_backbone",
]

# Asked of the installation: the library, once imported, hides where it came from.
HAS_ADAPTERS_LIBRARY = any(distributions(name="adapters"))


def output_layer(labels: Sequence[str], kind: str = "bert") -> OutputLayer:
    """Return the output layer of a task with these labels on a type of model; a regression's where there are none.

    Where transformers reads no class off a text of models of this type, there is one for each of its tokens.
    """
    if architecture(kind).reads == "images":
        return image_classes(labels)
    if [*architecture(kind).output_layers] == [TOKEN_CLASSIFICATION]:
        return tags(labels or ["score"])
    return classes(labels) if labels else score()


def tiny_spec(kind: str = "bert", attention: str = "sdpa", kernels: bool = True, **sizes: Any) -> BackboneSpec:
    random = {"model_type": kind, **small_sizes(kind), **sizes}
    attention = "auto" if architecture(kind).eager_only and attention == "sdpa" else attention
    return BackboneSpec(f"tiny-{kind}", attention=attention, kernels=kernels, random=random)  # type: ignore[arg-type]


def tiny(kind: str = "bert", labels: tuple[str, ...] = ("yes", "no"), seed: int = 1, **options: Any) -> Backbone:
    return with_biases(load_backbone(tiny_spec(kind, **options), output_layer(labels, kind), seed))


def write_backbone(folder: Path, kind: str = "bert", seed: int = 1, **sizes: Any) -> Path:
    """Write a tiny random backbone as a folder of its own, as somebody has who tuned one; return it."""
    tokenizer = character_tokenizer()
    torch.manual_seed(seed)
    model = random_model({"model_type": kind, **SIZES, **sizes}, tokenizer, "sdpa", output_layer(("yes", "no")))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def strategy_or_skip(name: str, options: dict[str, Any]) -> Strategy:
    """Return a strategy; where its library is not installed, the test is skipped and says why."""
    try:
        return create_strategy(name, options)
    except MissingPackageError as missing:
        pytest.skip(str(missing))
