"""Strategies that put modules of their own into a frozen backbone."""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import Site
from peftlab.backbones.weightless import copy_on_cpu
from peftlab.strategies.attached import Attached
from peftlab.strategies.contract import Strategy
from peftlab.strategies.traits import Traits

Modules = dict[tuple[int, Site], nn.Module]


@dataclass(frozen=True)
class InsertedStrategy(Strategy):
    """A strategy that puts modules into a frozen backbone; it builds them, all else follows.

    Each module stands at a site of a layer and keeps what stood there as its attribute `frozen`. What was put in has no
    counterpart in the backbone, so none of these can be merged.
    """

    @property
    def traits(self) -> Traits:
        """What is inserted cannot be merged."""
        return replace(super().traits, merge_tolerance=None)

    @abstractmethod
    def build(self, backbone: Backbone) -> Modules:
        """Return the modules to put in, by layer and site; a parameter may be shared among them."""

    def beside(self, backbone: Backbone) -> dict[str, nn.Parameter]:
        """Return pretrained parameters that are tuned too, by their names in the whole model. Default: none."""
        return {}

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        """Put the modules in."""
        return AttachedModules(self, backbone, selection)


class AttachedModules(Attached):
    """Modules that stand in a frozen backbone, by layer and site."""

    strategy: InsertedStrategy

    def tuned(self) -> dict[str, nn.Parameter]:
        """Return the inserted parameters, and the pretrained ones that are tuned beside them.

        Inserted ones are named ``layers.<layer>.<site>.<name>``; what several modules share has one name.
        """
        named = {
            f"layers.{layer}.{site}.{name}": parameter
            for (layer, site), module in self._modules.items()
            for name, parameter in module.named_parameters()
            if not name.startswith("frozen.")
        }
        first = {id(parameter): name for name, parameter in reversed(named.items())}
        own = {name: parameter for name, parameter in named.items() if first[id(parameter)] == name}
        return {**own, **self._beside}

    def _insert(self, selection: Any) -> None:
        self._modules: Modules = {}
        self._beside = self.strategy.beside(self.backbone)
        self._pretrained: dict[str, Tensor] = {name: copy_on_cpu(p) for name, p in self._beside.items()}
        for parameter in self._beside.values():
            parameter.requires_grad_(True)
        # Drawn on the CPU, so that a seed means the same weights on every device.
        self._modules = self.strategy.build(self.backbone)
        for (layer, site), module in self._modules.items():
            # A new module would begin in training mode, its dropout on.
            module.to(self.model.device).train(self.model.training)
            self.backbone.view.replace(layer, site, module)

    def _remove(self) -> None:
        for (layer, site), module in self._modules.items():
            frozen = module.frozen
            assert isinstance(frozen, nn.Module)
            self.backbone.view.replace(layer, site, frozen)
        with torch.no_grad():
            for name, parameter in self._beside.items():
                parameter.copy_(self._pretrained[name])


def layer_norms(backbone: Backbone, *but: Site) -> dict[str, nn.Parameter]:
    """Return weight and bias of every norm of the backbone but those at some sites, by their names.

    Architectures bring classes of their own, as those that divide by a root mean square.
    """
    view = backbone.view
    left_out = set(view.site_names(*filter(view.has, but)))
    norms = {name: module for name, module in backbone.model.named_modules() if type(module).__name__.endswith("Norm")}
    return {
        full: parameter
        for name, module in norms.items()
        if name not in left_out
        for full, parameter in module.named_parameters(prefix=name)
    }
