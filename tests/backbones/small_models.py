"""Small random models of every architecture whose heads are known."""

from models import output_layer
from peftlab.backbones.loading import Backbone, BackboneSpec, load_backbone

SMALL = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "hidden_size": 32,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
# What an architecture calls otherwise, or has besides.
OWN = {"distilbert": {"hidden_dim": 64}, "electra": {"embedding_size": 16}}
LABELS = ["entailment", "not_entailment"]


def tiny(kind="bert", labels=LABELS, seed=1, attention="auto") -> Backbone:
    return load_backbone(small_spec(kind, attention), output_layer(labels), seed)


def small_spec(kind="bert", attention="auto") -> BackboneSpec:
    options = {"model_type": kind, **SMALL, **OWN.get(kind, {})}
    return BackboneSpec("tiny", attention=attention, random=options)
