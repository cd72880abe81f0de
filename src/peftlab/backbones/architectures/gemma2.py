"""Gemma 2: Gemma's layers with a norm behind attention and feed-forward too, and scores that are capped."""

from collections.abc import Mapping
from typing import ClassVar

from peftlab.backbones.architecture import Site
from peftlab.backbones.architectures.gemma import Gemma


class Gemma2(Gemma):
    """Gemma 2. torch's attention cannot cap scores, so transformers writes it out."""

    name = "gemma2"
    model_types: ClassVar[tuple[str, ...]] = ("gemma2",)
    eager_only = True
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "self_attn",
        "attention_end": "post_attention_layernorm",
        "feed_forward": "mlp",
        "feed_forward_down": "mlp.down_proj",
        "feed_forward_end": "post_feedforward_layernorm",
        "layer": "",
    }
