"""The linear probe: only the task's output layer is trained, on frozen features."""

from dataclasses import dataclass

from torch import nn

from peftlab.strategies.bases.in_place import InPlaceStrategy
from peftlab.strategies.traits import Traits


@dataclass(frozen=True)
class Classifier(InPlaceStrategy):
    """Tune nothing but the classifier: the floor that every method has to beat."""

    name = "classifier"

    @property
    def traits(self) -> Traits:
        """The features are frozen."""
        return Traits(tunes_nothing=True)

    def chooses(self, name: str, parameter: nn.Parameter) -> bool:
        """Choose no parameter of the base model."""
        return False
