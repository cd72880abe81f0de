"""Gemma: Llama's layers; the scale of a norm is counted from 1, heads are wider than the hidden size divided."""

from collections.abc import Mapping
from typing import Any, ClassVar

from peftlab.backbones.architectures.llama import Llama


class Gemma(Llama):
    """Gemma, the first."""

    name = "gemma"
    model_types: ClassVar[tuple[str, ...]] = ("gemma",)
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "AutoModelForSequenceClassification": ("score",),
        "AutoModelForTokenClassification": ("score",),
    }
    small: ClassVar[Mapping[str, Any]] = {"num_key_value_heads": 2, "head_dim": 16}
