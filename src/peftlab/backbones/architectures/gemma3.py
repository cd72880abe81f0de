"""Gemma 3, text: Gemma 2's layers without the cap; queries and keys of each head are normalised."""

from collections.abc import Mapping
from typing import ClassVar

from peftlab.backbones.architectures.gemma2 import Gemma2


class Gemma3(Gemma2):
    """Gemma 3 without its images; one norm for all query heads, one for all key heads."""

    name = "gemma3"
    model_types: ClassVar[tuple[str, ...]] = ("gemma3_text",)
    eager_only = False
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {"AutoModelForSequenceClassification": ("score",)}
