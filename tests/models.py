"""Tiny random backbones and examples for tests that need a model but no files."""

from collections.abc import Sequence
from importlib.metadata import distributions
from typing import Any

import pytest
import torch
from torch import Tensor

from peftlab.backbones.loading import Backbone, BackboneSpec, load_backbone
from peftlab.errors import MissingPackageError
from peftlab.output_layer import OutputLayer, classes, score
from peftlab.strategies.contract import Strategy
from peftlab.strategies.registry import create_strategy

SIZES = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": 32,
    "intermediate_size": 64,
    "max_position_embeddings": 128,
}
TEXTS = (["every bird sang", "no dog slept in the old garden"], ["a sparrow sang", "no puppy slept"])

# Asked of the installation: the library, once imported, hides where it came from.
HAS_ADAPTERS_LIBRARY = any(distributions(name="adapters"))


def output_layer(labels: Sequence[str]) -> OutputLayer:
    """Return the output layer of a task with these labels; a regression's where there are none."""
    return classes(labels) if labels else score()


def tiny_spec(kind: str = "bert", attention: str = "sdpa", kernels: bool = True, **sizes: Any) -> BackboneSpec:
    random = {"model_type": kind, **SIZES, **sizes}
    return BackboneSpec(f"tiny-{kind}", attention=attention, kernels=kernels, random=random)  # type: ignore[arg-type]


def tiny(kind: str = "bert", labels: tuple[str, ...] = ("yes", "no"), seed: int = 1, **options: Any) -> Backbone:
    backbone = load_backbone(tiny_spec(kind, **options), output_layer(labels), seed)
    # Random initialisation leaves biases at zero; a test of biases must be able to see them.
    generator = torch.Generator().manual_seed(7)
    for name, parameter in backbone.model.named_parameters():
        if name.endswith("bias") and "classifier" not in name:
            parameter.data.normal_(0.0, 0.02, generator=generator)
    return backbone


def batch(backbone: Backbone, seed: int = 0, size: int = 6, length: int = 12) -> dict[str, Tensor]:
    """Return inputs [size, length] with right padding of random lengths, and binary labels."""
    generator = torch.Generator().manual_seed(seed)
    vocabulary = backbone.model.config.vocab_size
    ids = torch.randint(5, vocabulary, (size, length), generator=generator)
    lengths = torch.randint(3, length + 1, (size,), generator=generator)
    mask = (torch.arange(length)[None, :] < lengths[:, None]).long()
    ids = ids * mask + (1 - mask) * backbone.model.config.pad_token_id
    labels = torch.randint(0, 2, (size,), generator=generator)
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def logits(backbone: Backbone, inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return backbone.model(**{name: inputs[name] for name in ("input_ids", "attention_mask")}).logits


def strategy_or_skip(name: str, options: dict[str, Any]) -> Strategy:
    """Return a strategy; where its library is not installed, the test is skipped and says why."""
    try:
        return create_strategy(name, options)
    except MissingPackageError as missing:
        pytest.skip(str(missing))
