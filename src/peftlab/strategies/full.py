"""Full fine-tuning: every parameter of the backbone, the pooler included."""

from dataclasses import dataclass

from torch import nn

from peftlab.strategies.bases.in_place import InPlaceStrategy


@dataclass(frozen=True)
class Full(InPlaceStrategy):
    """Tune everything; its delta is a whole copy of the model."""

    name = "full"

    def chooses(self, name: str, parameter: nn.Parameter) -> bool:
        """Choose every parameter."""
        return True
