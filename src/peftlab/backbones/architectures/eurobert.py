"""EuroBERT: Llama's layers, each token attending to all."""

from collections.abc import Mapping
from typing import ClassVar

from transformers import PretrainedConfig

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

    def reads_tokens(self, config: PretrainedConfig) -> bool:
        """Return whether the mean of all tokens is classified, or that of what the classifier says of each."""
        return bool(config.classifier_pooling in ("mean", "late"))
