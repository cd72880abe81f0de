"""GPT-NeoX and Pythia: decoders whose fused matrix holds [query, key, value] of each head; attention and feed-forward
stand side by side."""

from collections.abc import Mapping
from typing import ClassVar

from transformers import PretrainedConfig, PreTrainedModel

from peftlab.backbones.architecture import Architecture, Attention, Rows, Site


class GPTNeoX(Architecture):
    """GPT-NeoX (Black et al., 2022)."""

    name = "gpt-neox"
    model_types: ClassVar[tuple[str, ...]] = ("gpt_neox",)
    layers = "layers"
    norm = "pre"
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "attention",
        "attention_end": "post_attention_dropout",
        "feed_forward": "mlp",
        "feed_forward_down": "mlp.dense_4h_to_h",
        "feed_forward_end": "post_mlp_dropout",
        "layer": "",
    }
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "AutoModelForSequenceClassification": ("score",),
        "AutoModelForTokenClassification": ("classifier",),
        "AutoModelForQuestionAnswering": ("qa_outputs",),
    }
    reads_last_token = True

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return the parts of each head's block."""
        heads, size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        query, key, value = (
            Rows("attention.query_key_value", part * size, heads, size, step=3 * size) for part in range(3)
        )
        return Attention(query, key, value, "attention.dense")

    def position_limit(self, model: PreTrainedModel) -> int | None:
        """Return the number of tokens that it was trained with."""
        limit: int = model.config.max_position_embeddings
        return limit
