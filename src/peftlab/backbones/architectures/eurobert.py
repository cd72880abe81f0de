"""EuroBERT: Llama's layers, each token attending to all."""

from collections.abc import Mapping
from typing import ClassVar

from peftlab.backbones.architectures.llama import Llama


class EuroBert(Llama):
    """EuroBERT (Boizard et al., 2025)."""

    name = "eurobert"
    model_types: ClassVar[tuple[str, ...]] = ("eurobert",)
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "AutoModelForSequenceClassification": ("dense", "classifier"),
        "AutoModelForTokenClassification": ("classifier",),
    }
    reads_last_token = False
