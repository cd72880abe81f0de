"""ELECTRA: BERT's layers below a classifier of two, embeddings of a width of their own."""

from collections.abc import Mapping
from typing import Any, ClassVar

from peftlab.backbones.architectures.bert import Bert


class Electra(Bert):
    """ELECTRA's discriminator; without a pooler."""

    name = "electra"
    model_types: ClassVar[tuple[str, ...]] = ("electra",)
    small: ClassVar[Mapping[str, Any]] = {"embedding_size": 16}
    output_layers: ClassVar[Mapping[str, tuple[str, ...]]] = {
        **Bert.output_layers,
        "AutoModelForMultipleChoice": ("sequence_summary", "classifier"),
    }
    may_lack: ClassVar[tuple[str, ...]] = ()
