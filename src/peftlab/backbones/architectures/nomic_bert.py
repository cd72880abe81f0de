"""Nomic BERT: LayerNorms after the residuals, rotary positions, a gated feed-forward, no biases."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from peftlab.backbones.architecture import Site
from peftlab.backbones.architectures.llama import Llama


class NomicBert(Llama):
    """Nomic BERT (Nussbaum et al., 2024)."""

    name = "nomic-bert"
    model_types: ClassVar[tuple[str, ...]] = ("nomic_bert",)
    norm: ClassVar[Literal["pre", "post"]] = "post"
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "self_attn",
        "attention_end": "post_attention_dropout",
        "attention_norm": "post_attention_layernorm",
        "feed_forward": "mlp",
        "feed_forward_down": "mlp.down_proj",
        "feed_forward_end": "post_mlp_dropout",
        "feed_forward_norm": "post_mlp_layernorm",
    }
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "AutoModelForSequenceClassification": ("classifier",),
        "AutoModelForTokenClassification": ("classifier",),
    }
    may_lack: ClassVar[tuple[str, ...]] = ("pooler",)
    reads_last_token = False
    small: ClassVar[Mapping[str, Any]] = {"head_dim": 8}
