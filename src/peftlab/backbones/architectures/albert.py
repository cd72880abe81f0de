"""ALBERT: BERT's layers, all of which are one: its weights serve every depth."""

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import PretrainedConfig

from peftlab.backbones.architecture import Attention, Site, separate
from peftlab.backbones.architectures.bert import Bert
from peftlab.errors import require


class Albert(Bert):
    """ALBERT (Lan et al., 2020), versions 1 and 2.

    A layer here is one that has weights of its own, and runs at many depths. What tunes a head tunes it at all of them,
    so what it is chosen by is taken at all of them: each depth gives the scores one more output of the head for each
    sequence, and a mean over outputs is the mean over all that its rows were used for. A module that a method puts in
    stands once, and runs at every depth.
    """

    name = "albert"
    model_types: ClassVar[tuple[str, ...]] = ("albert",)
    layers = "encoder.albert_layer_groups.0.albert_layers"
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "attention",
        "attention_end": "attention.output_dropout",
        "attention_norm": "attention.LayerNorm",
        "feed_forward_down": "ffn_output",
        "feed_forward_end": "ffn_output",
        "feed_forward_norm": "full_layer_layer_norm",
    }
    may_lack: ClassVar[tuple[str, ...]] = ("pooler",)
    small: ClassVar[Mapping[str, Any]] = {"embedding_size": 16}

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return three projections whose heads divide the hidden size.

        Raises:
            UserError: the layers fall into groups with weights of their own, which no released ALBERT has.
        """
        groups = config.num_hidden_groups
        require(
            groups == 1,
            f"backbone: an ALBERT of {groups} groups of layers is not served (num_hidden_groups): allowed is 1",
        )
        return separate(
            "attention.query",
            "attention.key",
            "attention.value",
            "attention.dense",
            heads=config.num_attention_heads,
            head_dim=config.hidden_size // config.num_attention_heads,
        )
