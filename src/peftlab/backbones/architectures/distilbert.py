"""DistilBERT: BERT's layers under names of their own; a feed-forward and an attention in one module each."""

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import PretrainedConfig, PreTrainedModel

from peftlab.backbones.architecture import Architecture, Attention, Site, separate


class DistilBert(Architecture):
    """DistilBERT. Its attention takes no keys and values from outside, and its feed-forward no residual."""

    name = "distilbert"
    model_types: ClassVar[tuple[str, ...]] = ("distilbert",)
    small: ClassVar[Mapping[str, Any]] = {"hidden_dim": 64}
    layers = "transformer.layer"
    norm = "post"
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "attention",
        "attention_end": "attention.out_lin",
        "attention_norm": "sa_layer_norm",
        "feed_forward": "ffn",
        "feed_forward_down": "ffn.lin2",
        "feed_forward_end": "ffn.dropout",
        "feed_forward_norm": "output_layer_norm",
    }
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "AutoModelForSequenceClassification": ("pre_classifier", "classifier"),
        "AutoModelForTokenClassification": ("classifier",),
        "AutoModelForMultipleChoice": ("pre_classifier", "classifier"),
        "AutoModelForQuestionAnswering": ("qa_outputs",),
    }

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return three projections whose heads divide the hidden size."""
        return separate(
            "attention.q_lin",
            "attention.k_lin",
            "attention.v_lin",
            "attention.out_lin",
            heads=config.num_attention_heads,
            head_dim=config.hidden_size // config.num_attention_heads,
        )

    def position_limit(self, model: PreTrainedModel) -> int | None:
        """Return the number of learned positions."""
        limit: int = model.config.max_position_embeddings
        return limit
