"""OLMo 2: Llama's layers; norms stand behind attention and feed-forward, and over the queries of all heads together."""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from transformers import PretrainedConfig

from peftlab.backbones.architecture import Attention, Site
from peftlab.backbones.architectures.llama import Llama


class Olmo2(Llama):
    """OLMo 2: the rows of one head's queries or keys change the length that all heads' are divided by."""

    name = "olmo2"
    model_types: ClassVar[tuple[str, ...]] = ("olmo2", "olmo3")
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "self_attn",
        "attention_end": "post_attention_layernorm",
        "feed_forward": "mlp",
        "feed_forward_down": "mlp.down_proj",
        "feed_forward_end": "post_feedforward_layernorm",
        "layer": "",
    }
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {"AutoModelForSequenceClassification": ("score",)}

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return Llama's projections."""
        return replace(super().attention(config), normed_together=True)
