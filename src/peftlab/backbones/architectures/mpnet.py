"""MPNet: BERT's layers with a bias by distance in every score, which its encoder's first layer computes for all."""

from collections.abc import Mapping
from typing import ClassVar

from transformers import PretrainedConfig

from peftlab.backbones.architecture import Architecture, Attention, Site, separate
from peftlab.backbones.architectures.roberta import Roberta


class MPNet(Roberta):
    """MPNet (Song et al., 2020). Its attention is written out in transformers, and takes no keys from outside."""

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
