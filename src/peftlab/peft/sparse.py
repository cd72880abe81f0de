"""A sparse difference in peft: single weights of any parameter are tuned, in places that somebody has chosen.

Diff-Pruning (Guo et al., 2021, arXiv 2012.07463) ends with one, and Child-Tuning D (Xu et al., 2021, arXiv 2109.05687)
trains one where its child network is strict. peft's own methods for single weights know those of linear layers alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft.config import PeftConfig
from peft.tuners._buffer_dict import BufferDict
from torch import Tensor, nn
from torch.func import functional_call

from peftlab.backbones.view import BackboneView
from peftlab.errors import require
from peftlab.peft.layers import AddedLayer, Tuner, zeros_or_noise
from peftlab.peft.registering import peft_type

_LEAVES = ("weight", "bias")


@dataclass
class SparseConfig(PeftConfig):
    """Which weights are tuned.

    Attributes:
        places: by the name of a parameter in the whole model a mask of its shape, as `ChildNetwork.masks` has them, or
            its places, flat. What is kept is how many they are: an adapter's file has the places.
        modules_to_save: modules beside them that are trained and saved whole.
        init_weights: False begins with noise in place of zeros; for tests.
        target_modules: found by the places; what is given here is not read.
    """

    places: Any = None
    modules_to_save: list[str] | None = None
    init_weights: bool = True
    target_modules: list[str] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type("sparse_difference")
        given = {name: _flat(places) for name, places in (self.places or {}).items() if isinstance(places, Tensor)}
        self.given: Mapping[str, Tensor] = {name: places for name, places in given.items() if len(places)}
        if given:
            self.places = {name: len(places) for name, places in self.given.items()}

    def places_of(self, name: str) -> Tensor:
        """Return int64 [E] places of a parameter; of an adapter that is loaded zeros, until its file is read."""
        own = self.given.get(name)
        return torch.zeros(self.places[name], dtype=torch.int64) if own is None else own


class SparseLayer(AddedLayer):
    """A module, in whose weight and bias [N] in all the places P of each adapter have its values [P] added."""

    adapter_layer_names = tuple(f"sparse_difference_{leaf}" for leaf in _LEAVES)
    other_param_names = tuple(f"sparse_difference_{leaf}_places" for leaf in _LEAVES)

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        for values, places in zip(self.adapter_layer_names, self.other_param_names, strict=True):
            setattr(self, values, nn.ParameterDict({}))
            setattr(self, places, BufferDict(persistent=True))

    def parts(self, adapter_name: str) -> dict[str, tuple[Tensor, Tensor]]:
        """Return the places and values of an adapter by the parameter, `weight` or `bias`."""
        named = zip(_LEAVES, self.other_param_names, self.adapter_layer_names, strict=True)
        found = {leaf: (getattr(self, places), getattr(self, values)) for leaf, places, values in named}
        return {
            leaf: (places[adapter_name].long(), values[adapter_name])
            for leaf, (places, values) in found.items()
            if adapter_name in values
        }

    def add(self, adapter_name: str, places: Mapping[str, Tensor], config: SparseConfig) -> None:
        """Give an adapter its places, int64 [P] by the parameter."""
        for leaf, where in places.items():
            parameter = self.get_base_layer().get_parameter(leaf)
            values = zeros_or_noise((len(where),), config.init_weights, parameter)
            getattr(self, f"sparse_difference_{leaf}_places")[adapter_name] = where.to(values.device, torch.int32)
            getattr(self, f"sparse_difference_{leaf}")[adapter_name] = values
        self.ready(adapter_name, config.inference_mode)

    def change(self, adapter_name: str, sign: float) -> None:
        """Add an adapter's values to the module's parameters, or take them away."""
        for leaf, (places, values) in self.parts(adapter_name).items():
            flat = self.get_base_layer().get_parameter(leaf).data.view(-1)
            flat.index_add_(0, places, sign * values.to(flat.dtype))

    def add_up(self, adapters: list[str], weights: list[float], adapter_name: str) -> None:
        """Make an adapter the weighted sum of others: the places of all, one after the other."""
        made = self.parts(adapter_name)
        for leaf, (_, total) in made.items():
            there = [
                (self.parts(one)[leaf], weight)
                for one, weight in zip(adapters, weights, strict=True)
                if leaf in self.parts(one)
            ]
            total.data.copy_(torch.cat([weight * values for (_, values), weight in there]))
            where = torch.cat([places for (places, _), _ in there])
            getattr(self, f"sparse_difference_{leaf}_places")[adapter_name] = where.to(torch.int32)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Any:
        """Map what the module takes to what it gives."""
        changed: dict[str, Tensor] = {}
        for name in self.active():
            for leaf, (places, values) in self.parts(name).items():
                own = changed.get(leaf, self.get_base_layer().get_parameter(leaf))
                changed[leaf] = own.flatten().index_add(0, places, values.to(own.dtype)).view_as(own)
        return functional_call(self.base_layer, changed, (x, *args), kwargs)


class SparseModel(Tuner):
    """A sparse difference on a model."""

    prefix = "sparse_difference_"
    tuner_layer_cls = SparseLayer

    def targets(self, config: SparseConfig, view: BackboneView) -> list[str]:
        """Return the modules of which weights are tuned.

        Raises:
            UserError: there are no places, or a parameter is not there, smaller, or another module's too.
        """
        require(bool(config.places), "places: a sparse difference tunes chosen weights; allowed are masks by parameter")
        own = {name.replace(".base_layer", ""): p for name, p in self.model.named_parameters(remove_duplicate=False)}
        owners = [id(p) for p in own.values()]
        for name in config.places:
            require(
                name in own and name.rpartition(".")[2] in _LEAVES,
                f"places: {name}: the model has no such weight or bias",
            )
            require(owners.count(id(own[name])) == 1, f"places: {name}: another module has the same weights")
            most = int(config.places_of(name).max())
            require(most < own[name].numel(), f"places: {name}: place {most} of {own[name].numel()} weights")
        return list(dict.fromkeys(name.rpartition(".")[0] for name in config.places))

    def fill(self, layer: SparseLayer, adapter_name: str, config: SparseConfig, name: str) -> None:
        """Give a module an adapter's places."""
        named = {leaf: f"{name}.{leaf}" for leaf in _LEAVES}
        own = {leaf: config.places_of(whole) for leaf, whole in named.items() if whole in config.places}
        layer.add(adapter_name, own, config)

    def joined(self, configs: list[Any]) -> SparseConfig:
        """Return a configuration with the places of all."""
        names = dict.fromkeys(name for config in configs for name in config.places)
        return SparseConfig(places={name: sum(config.places.get(name, 0) for config in configs) for name in names})


def _flat(places: Tensor) -> Tensor:
    """Return the places [E] of a mask, or those that are given."""
    return places.flatten().nonzero().flatten() if places.dtype == torch.bool else places.long()
