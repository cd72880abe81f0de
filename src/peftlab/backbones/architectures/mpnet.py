"""MPNet: BERT's layers with a bias by distance in every score, which its encoder's first layer computes for all."""

from collections.abc import Mapping
from types import MethodType
from typing import Any, ClassVar

from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel

from peftlab.backbones.architecture import Architecture, Attention, Site, separate
from peftlab.backbones.architectures.roberta import Roberta
from peftlab.transformers_internals import AttentionFunction


class MPNet(Roberta):
    """MPNet (Song et al., 2020). transformers writes its attention out, and it takes no keys from outside."""

    name = "mpnet"
    model_types: ClassVar[tuple[str, ...]] = ("mpnet",)
    eager_only = True
    sites: ClassVar[Mapping[Site, str]] = {
        "attention_end": "attention.dropout",
        "attention_norm": "attention.LayerNorm",
        "feed_forward_output": "output",
        "feed_forward_down": "output.dense",
        "feed_forward_end": "output.dropout",
        "feed_forward_norm": "output.LayerNorm",
    }
    shift_positions = Architecture.shift_positions

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return three projections whose heads divide the hidden size."""
        return separate(
            "attention.attn.q",
            "attention.attn.k",
            "attention.attn.v",
            "attention.attn.o",
            heads=config.num_attention_heads,
            head_dim=config.hidden_size // config.num_attention_heads,
        )

    def send_attention(self, model: PreTrainedModel, name: str, function: AttentionFunction) -> None:
        """Let every attention go through `function`, for which the bias by distance is a part of the mask."""
        layers = model.base_model.get_submodule(self.layers)
        encoder: Any = model.base_model.get_submodule(self.layers.rpartition(".")[0])
        encoder.forward = MethodType(_encode, encoder)
        encoder.compute_position_bias = _in_the_mask
        for layer in layers.children():
            attention: Any = layer.get_submodule("attention.attn")
            attention.attend = function
            attention.forward = MethodType(_forward, attention)


def _encode(
    encoder: Any, hidden_states: Tensor, attention_mask: Tensor | None = None, *given: Any, **options: Any
) -> Any:
    """Map as MPNet's encoder does; what the scores of every layer are given is added up once, not layer by layer."""
    bias: Tensor = type(encoder).compute_position_bias(encoder, hidden_states[:1])  # [1, H, S, S], alike for all
    mask = bias if attention_mask is None else bias + attention_mask
    return type(encoder).forward(encoder, hidden_states, mask, *given, **options)


def _in_the_mask(hidden_states: Tensor) -> None:
    """Give layers no bias of its own: `_encode` has it in the mask."""


def _forward(
    attention: Any,
    hidden_states: Tensor,
    attention_mask: Tensor | None = None,
    position_bias: Tensor | None = None,
    output_attentions: bool = False,
    **options: Any,
) -> tuple[Tensor, ...]:
    """Map [B, S, D] to ([B, S, D],) as MPNet does; whoever asks for the shares of attention has them written out."""
    if output_attentions:
        written_out: tuple[Tensor, ...] = type(attention).forward(
            attention, hidden_states, attention_mask, position_bias, True, **options
        )
        return written_out
    heads = (*hidden_states.shape[:-1], -1, attention.attention_head_size)
    query, key, value = (
        projection(hidden_states).view(heads).transpose(1, 2) for projection in (attention.q, attention.k, attention.v)
    )
    dropout = attention.dropout.p if attention.training else 0.0
    outputs, _ = attention.attend(attention, query, key, value, attention_mask, dropout=dropout, is_causal=False)
    return (attention.o(outputs.flatten(-2)),)
