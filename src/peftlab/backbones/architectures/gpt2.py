"""GPT-2: a decoder with learned positions, whose matrices are transformers' `Conv1D`: [D, N], a head owns columns."""

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import PretrainedConfig, PreTrainedModel

from peftlab.backbones.architecture import Architecture, Attention, Rows, Site


class GPT2(Architecture):
    """GPT-2 (Radford et al., 2019)."""

    name = "gpt2"
    model_types: ClassVar[tuple[str, ...]] = ("gpt2",)
    layers = "h"
    norm = "pre"
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "attn",
        "attention_end": "attn.resid_dropout",
        "feed_forward": "mlp",
        "feed_forward_down": "mlp.c_proj",
        "feed_forward_end": "mlp.dropout",
        "layer": "",
    }
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "AutoModelForSequenceClassification": ("score",),
        "AutoModelForTokenClassification": ("classifier",),
        "AutoModelForQuestionAnswering": ("qa_outputs",),
    }
    reads_last_token = True
    small: ClassVar[Mapping[str, Any]] = {"n_inner": 64}

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return the three thirds of the fused matrix, side by side."""
        heads, size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        query, key, value = (Rows("attn.c_attn", part * heads * size, heads, size, axis=1) for part in range(3))
        return Attention(query, key, value, "attn.c_proj")

    def position_limit(self, model: PreTrainedModel) -> int | None:
        """Return the number of learned positions."""
        limit: int = model.config.max_position_embeddings
        return limit
