"""DeBERTa v2 and v3: BERT's layers; content and distance are scored apart, often by the same rows."""

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import PretrainedConfig

from peftlab.backbones.architecture import Architecture, Attention, Site, separate
from peftlab.backbones.architectures.bert import Bert


class DebertaV2(Bert):
    """DeBERTa (He et al., 2021). With `share_att_key` a head's rows of Q and K score distances too, its own alone."""

    name = "deberta-v2"
    model_types: ClassVar[tuple[str, ...]] = ("deberta-v2",)
    eager_only = True
    sites: ClassVar[Mapping[Site, str]] = {site: name for site, name in Bert.sites.items() if site != "self_attention"}
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "AutoModelForSequenceClassification": ("pooler", "classifier"),
        "AutoModelForTokenClassification": ("classifier",),
        "AutoModelForMultipleChoice": ("pooler", "classifier"),
        "AutoModelForQuestionAnswering": ("qa_outputs",),
    }
    may_lack: ClassVar[tuple[str, ...]] = ()
    small: ClassVar[Mapping[str, Any]] = {  # the entries of DeBERTa-v3
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "share_att_key": True,
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "position_biased_input": False,
        "pooler_hidden_size": 32,
    }
    shift_positions = Architecture.shift_positions

    def token_types(self, config: PretrainedConfig) -> int | None:
        """Return how many token types there are: published models have 0, and leave out what their tokenizers give."""
        return super().token_types(config) or None

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return three projections whose heads divide the hidden size."""
        return separate(
            "attention.self.query_proj",
            "attention.self.key_proj",
            "attention.self.value_proj",
            "attention.output.dense",
            heads=config.num_attention_heads,
            head_dim=config.hidden_size // config.num_attention_heads,
        )
