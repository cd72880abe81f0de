"""BitFit (Ben Zaken et al., 2022): only the bias terms are tuned."""

from dataclasses import dataclass

from torch import nn

from peftlab.strategies.bases.in_place import InPlaceStrategy


@dataclass(frozen=True)
class BitFit(InPlaceStrategy):
    """Tune every bias of the base model: projections, feed-forward, LayerNorms, embeddings and pooler."""

    name = "bitfit"

    def chooses(self, name: str, parameter: nn.Parameter) -> bool:
        """Choose the bias terms."""
        return name.endswith("bias")
