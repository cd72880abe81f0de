"""Strategies that tune parameters which the backbone already has."""

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from peftlab.backbones.loading import Backbone
from peftlab.strategies.contract import Strategy


@dataclass
class InPlaceStrategy(Strategy):
    """A strategy that tunes parameters the backbone already has; it names them, all else follows."""

    @abstractmethod
    def chooses(self, name: str, parameter: nn.Parameter) -> bool:
        """Return whether a parameter of the base model is tuned; the classifier is not asked about."""

    def tuned(self) -> dict[str, nn.Parameter]:
        """Return the chosen parameters by their names in the whole model."""
        return {name: p for name, p in self._base_parameters(self.backbone) if name in self._pretrained}

    def _attach(self, backbone: Backbone, selection: Any) -> None:
        chosen = {name: p for name, p in self._base_parameters(backbone) if self.chooses(name, p)}
        # RunCache on the CPU, so that detaching gives the pretrained backbone back.
        self._pretrained = {name: p.detach().cpu().clone() for name, p in chosen.items()}
        for parameter in chosen.values():
            parameter.requires_grad_(True)

    def _detach(self, backbone: Backbone) -> None:
        with torch.no_grad():
            for name, parameter in self.tuned().items():
                parameter.copy_(self._pretrained[name])

    def _merge(self, backbone: Backbone) -> None:
        """Nothing to do: the tuned values are the backbone's own weights already."""

    @staticmethod
    def _base_parameters(backbone: Backbone) -> Iterable[tuple[str, nn.Parameter]]:
        classifier = {name for name, _ in backbone.view.classifier_parameters()}
        return ((name, p) for name, p in backbone.model.named_parameters() if name not in classifier)
