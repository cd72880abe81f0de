"""BERT: LayerNorms after the residuals, three projections a layer, positions learned from 0."""

from collections.abc import Callable, Mapping
from typing import ClassVar

from transformers import PretrainedConfig, PreTrainedModel

from peftlab.backbones.architecture import Architecture, Attention, Site, separate
from peftlab.transformers_internals import shift_learned_positions


class Bert(Architecture):
    """BERT, and what others are made of: RoBERTa and ELECTRA keep its names inside a layer."""

    name = "bert"
    model_types: ClassVar[tuple[str, ...]] = ("bert",)
    layers = "encoder.layer"
    norm = "post"
    sites: ClassVar[Mapping[Site, str]] = {
        "self_attention": "attention.self",
        "attention_end": "attention.output.dropout",
        "attention_norm": "attention.output.LayerNorm",
        "feed_forward_output": "output",
        "feed_forward_down": "output.dense",
        "feed_forward_end": "output.dropout",
        "feed_forward_norm": "output.LayerNorm",
    }
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "AutoModelForSequenceClassification": ("classifier",),
        "AutoModelForTokenClassification": ("classifier",),
        "AutoModelForMultipleChoice": ("classifier",),
        "AutoModelForQuestionAnswering": ("qa_outputs",),
    }
    # Encoders without the next-sentence task, such as sentence transformers', have none.
    may_lack: ClassVar[tuple[str, ...]] = ("pooler",)

    def attention(self, config: PretrainedConfig) -> Attention:
        """Return three projections whose heads divide the hidden size."""
        return separate(
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            heads=config.num_attention_heads,
            head_dim=config.hidden_size // config.num_attention_heads,
        )

    def position_limit(self, model: PreTrainedModel) -> int | None:
        """Return the number of learned positions."""
        limit: int = model.config.max_position_embeddings
        return limit

    def shift_positions(self, model: PreTrainedModel, count: int) -> Callable[[], None]:
        """Let the embeddings count from where earlier tokens would have ended."""
        return shift_learned_positions(model.base_model.get_submodule("embeddings"), count)
