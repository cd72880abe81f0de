"""Small random models of every architecture whose heads are known."""

from models import output_layer
from peftlab.backbones.loading import Backbone, BackboneSpec, load_backbone
from peftlab.check.small import small_sizes

LABELS = ["entailment", "not_entailment"]


def tiny(kind="bert", labels=LABELS, seed=1, attention="auto") -> Backbone:
    return load_backbone(small_spec(kind, attention), output_layer(labels, kind), seed)


def small_spec(kind="bert", attention="auto") -> BackboneSpec:
    options = {"model_type": kind, **small_sizes(kind)}
    if "max_position_embeddings" in options:
        options["max_position_embeddings"] = 64
    return BackboneSpec("tiny", attention=attention, random=options)
