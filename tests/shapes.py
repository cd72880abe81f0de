"""The paper's backbones as shapes alone: nothing is downloaded and no weight takes memory."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, BertConfig, RobertaConfig

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import BackboneView

LARGE: dict[str, Any] = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
BERT_LARGE = BertConfig(vocab_size=30522, intermediate_size=4096, **LARGE)
BERT_BASE = BertConfig(vocab_size=30522)
ROBERTA_LARGE = RobertaConfig(
    vocab_size=50265, intermediate_size=4096, max_position_embeddings=514, type_vocab_size=1, **LARGE
)
ROBERTA_BASE = RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1)


def shape_of(config: Any) -> Backbone:
    """Return a backbone without memory for its weights: parameters on the meta device have shapes alone."""
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(config)
    view = BackboneView(model)
    size = sum(p.numel() for p in model.parameters()) - sum(p.numel() for _, p in view.classifier_parameters())
    return Backbone("shape", model, None, view, "none", size)  # type: ignore[arg-type]


def let_meta_tensors_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave tensors without values where they are: strategies keep pretrained values on the CPU."""
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: self)
