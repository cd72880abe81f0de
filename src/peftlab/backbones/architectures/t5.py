"""T5's encoder: norms before, a bias by distance in every score, heads whose sizes need not divide the hidden size."""

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import PretrainedConfig, PreTrainedModel

from peftlab.backbones.architecture import Architecture, Attention, Site, separate
from peftlab.errors import UserError

_SEQUENCES = "AutoModelForSequenceClassification"


class T5(Architecture):
    """T5 (Raffel et al., 2020), mT5 and UMT5: the encoder, under the one output layer that transformers puts on it."""

    name = "t5"
    model_types: ClassVar[tuple[str, ...]] = ("t5", "mt5", "umt5")
    layers = "encoder.block"
    norm = "pre"
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "layer.0.SelfAttention",
        "attention_end": "layer.0.dropout",
        "feed_forward": "layer.1.DenseReluDense",
        "feed_forward_down": "layer.1.DenseReluDense.wo",
        "feed_forward_end": "layer.1.dropout",
        "layer": "",
    }
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {"AutoModelForTokenClassification": ("classifier",)}
    small: ClassVar[Mapping[str, Any]] = {"d_kv": 8, "d_ff": 64}

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return three projections with heads of a size of their own."""
        place = "layer.0.SelfAttention"
        return separate(
            f"{place}.q",
            f"{place}.k",
            f"{place}.v",
            f"{place}.o",
            heads=config.num_attention_heads,
            head_dim=config.d_kv,
        )

    def position_limit(self, model: PreTrainedModel) -> int | None:
        """Return None: distances alone count."""
        return None

    def output_names(self, auto_class: str) -> tuple[str, ...]:
        """Return the names of the modules of an output layer, in order.

        Raises:
            UserError: there is none; a sequence is classified behind the decoder, which is no part of this family.
        """
        if auto_class == _SEQUENCES:
            raise UserError(
                "backbone: t5 serves the encoder, and transformers classifies a sequence behind its decoder"
            )
        return super().output_names(auto_class)
