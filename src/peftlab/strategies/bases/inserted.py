"""Strategies that put modules of their own into a frozen backbone."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import Site
from peftlab.strategies.contract import Strategy


@dataclass
class InsertedStrategy(Strategy):
    """A strategy that puts modules into a frozen backbone; it builds them, all else follows.

    Each module stands in a place of `view.py` and keeps what stood there as its attribute `frozen`.
    """

    @property
    def mergeable(self) -> bool:
        """Never: what was put in has no counterpart in the backbone."""
        return False

    @abstractmethod
    def build(self, backbone: Backbone) -> dict[tuple[int, Site], nn.Module]:
        """Return the modules to put in, by layer and place; a parameter may be shared among them."""

    def beside(self, backbone: Backbone) -> dict[str, nn.Parameter]:
        """Return pretrained parameters that are tuned too, by their names in the whole model. Default: none."""
        return {}

    def tuned(self) -> dict[str, nn.Parameter]:
        """Return the inserted parameters, and the pretrained ones that are tuned beside them.

        Inserted ones are named ``layers.<layer>.<place>.<name>``; what several modules share has one name.
        """
        named = {
            f"layers.{layer}.{place}.{name}": parameter
            for (layer, place), module in self._modules.items()
            for name, parameter in module.named_parameters()
            if not name.startswith("frozen.")
        }
        first = {id(parameter): name for name, parameter in reversed(named.items())}
        own = {name: parameter for name, parameter in named.items() if first[id(parameter)] == name}
        return {**own, **self._beside}

    def _attach(self, backbone: Backbone, selection: Any) -> None:
        self._beside = self.beside(backbone)
        self._pretrained = {name: p.detach().cpu().clone() for name, p in self._beside.items()}
        for parameter in self._beside.values():
            parameter.requires_grad_(True)
        # Drawn on the CPU, so that a seed means the same weights on every device.
        self._modules = self.build(backbone)
        for (layer, place), module in self._modules.items():
            # A new module would begin in training mode, its dropout on.
            module.to(backbone.model.device).train(backbone.model.training)
            backbone.view.replace(layer, place, module)

    def _detach(self, backbone: Backbone) -> None:
        for (layer, place), module in self._modules.items():
            frozen = module.frozen
            assert isinstance(frozen, nn.Module)
            backbone.view.replace(layer, place, frozen)
        with torch.no_grad():
            for name, parameter in self._beside.items():
                parameter.copy_(self._pretrained[name])

    def _merge(self, backbone: Backbone) -> None:
        raise NotImplementedError("what was put in has no counterpart in the backbone")


def layer_norms(backbone: Backbone, *but: Site) -> dict[str, nn.Parameter]:
    """Return weight and bias of every LayerNorm of the backbone but those in some places, by their names."""
    left_out = set(backbone.view.site_names(*but))
    norms = {name: module for name, module in backbone.model.named_modules() if isinstance(module, nn.LayerNorm)}
    return {
        full: parameter
        for name, module in norms.items()
        if name not in left_out
        for full, parameter in module.named_parameters(prefix=name)
    }
