"""BitFit (Ben Zaken et al., 2022): only the bias terms are tuned."""

from dataclasses import dataclass

from torch import nn

from peftlab.backbones.view import BackboneView
from peftlab.strategies.bases.in_place import InPlaceStrategy
from peftlab.tasks.kind import TaskKind


@dataclass(frozen=True)
class BitFit(InPlaceStrategy):
    """Tune every bias of the base model: projections, feed-forward, LayerNorms, embeddings and pooler."""

    name = "bitfit"

    def skip(self, view: BackboneView, kind: TaskKind) -> str | None:
        """Name an architecture without biases."""
        biased = any(name.endswith("bias") for name in view.encoder_parameters())
        return None if biased else "its layers have no biases"

    def chooses(self, name: str, parameter: nn.Parameter) -> bool:
        """Choose the bias terms."""
        return name.endswith("bias")
