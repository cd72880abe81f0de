"""ModernBERT: LayerNorms before, one matrix [query, key, value] for all heads, rotary positions, local attention."""

from collections.abc import Mapping
from typing import ClassVar

from transformers import PretrainedConfig, PreTrainedModel

from peftlab.backbones.architecture import Architecture, Attention, Rows, Site


class ModernBert(Architecture):
    """ModernBERT (Warner et al., 2024)."""

    name = "modernbert"
    model_types: ClassVar[tuple[str, ...]] = ("modernbert",)
    layers = "layers"
    norm = "pre"
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "attn",
        "attention_end": "attn.out_drop",
        "feed_forward": "mlp",
        "feed_forward_down": "mlp.Wo",
        "feed_forward_end": "mlp.Wo",
        "layer": "",
    }
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "AutoModelForSequenceClassification": ("head", "classifier"),
        "AutoModelForTokenClassification": ("head", "classifier"),
        "AutoModelForMultipleChoice": ("head", "classifier"),
        "AutoModelForQuestionAnswering": ("head", "classifier"),
    }

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return the three parts of the fused matrix, one below the other."""
        heads, size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        query, key, value = (Rows("attn.Wqkv", part * heads * size, heads, size) for part in range(3))
        return Attention(query, key, value, "attn.Wo")

    def position_limit(self, model: PreTrainedModel) -> int | None:
        """Return the number of tokens that it was trained with."""
        limit: int = model.config.max_position_embeddings
        return limit

    def reads_tokens(self, config: PretrainedConfig) -> bool:
        """Return whether the mean of all tokens is classified, and not the first."""
        return bool(config.classifier_pooling == "mean")
