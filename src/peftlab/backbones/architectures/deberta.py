"""DeBERTa v1: as v2, but one matrix holds [query, key, value] of each head, and biases of Q and V stand apart."""

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import PretrainedConfig

from peftlab.backbones.architecture import Attention, Rows
from peftlab.backbones.architectures.deberta_v2 import DebertaV2


class Deberta(DebertaV2):
    """DeBERTa (He et al., 2021), whose distances are scored by projections of their own."""

    name = "deberta"
    model_types: ClassVar[tuple[str, ...]] = ("deberta",)
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        auto_class: names
        for auto_class, names in DebertaV2.output_layers.items()
        if auto_class != "AutoModelForMultipleChoice"
    }
    small: ClassVar[Mapping[str, Any]] = {
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_biased_input": False,
        "pooler_hidden_size": 32,
    }

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return the parts of each head's block."""
        heads, size = config.num_attention_heads, config.hidden_size // config.num_attention_heads
        query, key, value = (
            Rows("attention.self.in_proj", part * size, heads, size, step=3 * size) for part in range(3)
        )
        return Attention(query, key, value, "attention.output.dense")
