"""Strategies that tune parameters which the backbone already has."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from peftlab.backbones.loading import Backbone
from peftlab.backbones.weightless import copy_on_cpu
from peftlab.strategies.attached import Attached
from peftlab.strategies.contract import Strategy


@dataclass(frozen=True)
class InPlaceStrategy(Strategy):
    """A strategy that tunes parameters the backbone already has; it names them, all else follows."""

    @abstractmethod
    def chooses(self, name: str, parameter: nn.Parameter) -> bool:
        """Return whether a parameter of the base model is tuned; the classifier is not asked about."""

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        """Let the chosen parameters require gradients."""
        return AttachedInPlace(self, backbone, selection)


class AttachedInPlace(Attached):
    """Parameters of the backbone that are tuned where they are."""

    strategy: InPlaceStrategy

    def tuned(self) -> dict[str, nn.Parameter]:
        """Return the chosen parameters by their names in the whole model."""
        return {name: p for name, p in self.backbone.view.tunable_parameters().items() if name in self._pretrained}

    def _insert(self, selection: Any) -> None:
        found = self.backbone.view.tunable_parameters().items()
        chosen = {name: p for name, p in found if self.strategy.chooses(name, p)}
        # Kept on the CPU, so that detaching gives the pretrained backbone back.
        self._pretrained: dict[str, Tensor] = {name: copy_on_cpu(p) for name, p in chosen.items()}
        for parameter in chosen.values():
            parameter.requires_grad_(True)

    def _remove(self) -> None:
        with torch.no_grad():
            for name, parameter in self.tuned().items():
                parameter.copy_(self._pretrained[name])

    def _merge(self) -> None:
        """Nothing to do: the tuned values are the backbone's own weights already."""
