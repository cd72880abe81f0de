"""Llama and what keeps its names: decoders whose query heads share keys and values, with rotary positions."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from transformers import PretrainedConfig, PreTrainedModel

from peftlab.backbones.architecture import Architecture, Attention, Rows, Site


class Llama(Architecture):
    """Llama, Mistral, Qwen 2 and 3, SmolLM 3; Gemma and OLMo keep the names inside its attention."""

    name = "llama"
    model_types: ClassVar[tuple[str, ...]] = ("llama", "mistral", "qwen2", "qwen3", "smollm3")
    layers = "layers"
    norm: ClassVar[Literal["pre", "post"]] = "pre"
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "self_attn",
        "attention_end": "self_attn.o_proj",
        "feed_forward": "mlp",
        "feed_forward_down": "mlp.down_proj",
        "feed_forward_end": "mlp.down_proj",
        "layer": "",
    }
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "AutoModelForSequenceClassification": ("score",),
        "AutoModelForTokenClassification": ("score",),
        "AutoModelForQuestionAnswering": ("qa_outputs",),
    }
    reads_last_token = True
    small: ClassVar[Mapping[str, Any]] = {"num_key_value_heads": 2}  # each for two of queries

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return three projections, those of keys and values with fewer heads."""
        heads, shared, size = head_counts(config)
        return Attention(
            query=Rows("self_attn.q_proj", 0, heads, size),
            key=Rows("self_attn.k_proj", 0, shared, size),
            value=Rows("self_attn.v_proj", 0, shared, size),
            output="self_attn.o_proj",
        )

    def position_limit(self, model: PreTrainedModel) -> int | None:
        """Return the number of tokens that it was trained with."""
        limit: int = model.config.max_position_embeddings
        return limit


def head_counts(config: PretrainedConfig) -> tuple[int, int, int]:
    """Return H of queries, H of keys and values, and D', which some configs leave to be divided out."""
    heads = config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return heads, getattr(config, "num_key_value_heads", None) or heads, size
