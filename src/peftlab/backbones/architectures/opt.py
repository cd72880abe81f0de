"""OPT: a decoder with three projections a layer and learned positions, which are counted from the mask."""

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import PretrainedConfig, PreTrainedModel

from peftlab.backbones.architecture import Architecture, Attention, Site, separate


class OPT(Architecture):
    """OPT (Zhang et al., 2022)."""

    name = "opt"
    model_types: ClassVar[tuple[str, ...]] = ("opt",)
    layers = "decoder.layers"
    norm = "pre"
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "self_attn",
        "attention_end": "self_attn.out_proj",
        "feed_forward_down": "fc2",
        "feed_forward_end": "fc2",
        "layer": "",
    }
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "AutoModelForSequenceClassification": ("score",),
        "AutoModelForQuestionAnswering": ("qa_outputs",),
    }
    reads_last_token = True
    small: ClassVar[Mapping[str, Any]] = {"ffn_dim": 64, "word_embed_proj_dim": 32}

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return three projections whose heads divide the hidden size."""
        return separate(
            "self_attn.q_proj",
            "self_attn.k_proj",
            "self_attn.v_proj",
            "self_attn.out_proj",
            heads=config.num_attention_heads,
            head_dim=config.hidden_size // config.num_attention_heads,
        )

    def position_limit(self, model: PreTrainedModel) -> int | None:
        """Return the number of learned positions."""
        limit: int = model.config.max_position_embeddings
        return limit
