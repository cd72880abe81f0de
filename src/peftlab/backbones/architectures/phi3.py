"""Phi 3: Llama's layers with one matrix [query, key, value]."""

from collections.abc import Mapping
from typing import ClassVar

from transformers import PretrainedConfig

from peftlab.backbones.architecture import Attention, Rows, Site
from peftlab.backbones.architectures.llama import Llama, head_counts


class Phi3(Llama):
    """Phi 3 and 4 of language alone."""

    name = "phi3"
    model_types: ClassVar[tuple[str, ...]] = ("phi3",)
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "self_attn",
        "attention_end": "resid_attn_dropout",
        "feed_forward": "mlp",
        "feed_forward_down": "mlp.down_proj",
        "feed_forward_end": "resid_mlp_dropout",
        "layer": "",
    }
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "AutoModelForSequenceClassification": ("score",),
        "AutoModelForTokenClassification": ("score",),
    }

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return the parts of the fused matrix, one below the other."""
        heads, shared, size = head_counts(config)
        return Attention(
            query=Rows("self_attn.qkv_proj", 0, heads, size),
            key=Rows("self_attn.qkv_proj", heads * size, shared, size),
            value=Rows("self_attn.qkv_proj", (heads + shared) * size, shared, size),
            output="self_attn.o_proj",
        )
