"""RoBERTa, XLM-RoBERTa and CamemBERT: BERT's layers, positions counted from the padding index."""

from typing import ClassVar

from transformers import PreTrainedModel

from peftlab.backbones.architectures.bert import Bert


class Roberta(Bert):
    """RoBERTa, whose classifier has a layer of its own instead of a pooler."""

    name = "roberta"
    model_types: ClassVar[tuple[str, ...]] = ("roberta", "xlm-roberta", "camembert")

    def position_limit(self, model: PreTrainedModel) -> int | None:
        """Return the learned positions after the padding index: two tokens fewer than there are."""
        positions: int = model.config.max_position_embeddings
        padding: int = model.base_model.get_submodule("embeddings.position_embeddings").padding_idx  # type: ignore[assignment]
        return positions - padding - 1
