"""Methods that put a module of their own behind modules of the model, and leave those as they are."""

from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from peftlab.backbones.view import BackboneView
from peftlab.errors import require
from peftlab.layers.placement import Placement, sites
from peftlab.peft.layers import Layer, Tuner


class InsertedLayer(Layer):
    """Applies the module of each active adapter, one after the other, to what the model's module gives.

    The first of `adapter_layer_names` is where the modules lie.
    """

    def __init__(self, base_layer: nn.Module) -> None:
        super().__init__(base_layer)
        setattr(self, self.adapter_layer_names[0], nn.ModuleDict({}))

    @property
    def inserted(self) -> nn.ModuleDict:
        """The modules, by adapter."""
        return cast(nn.ModuleDict, getattr(self, self.adapter_layer_names[0]))

    def add(self, adapter_name: str, module: nn.Module, config: Any) -> None:
        """Give an adapter its module."""
        self.inserted[adapter_name] = module.train(self.base_layer.training)
        self.ready(adapter_name, config.inference_mode)

    def made(self, adapter_name: str, hidden: Tensor) -> Tensor:
        """Return what an adapter adds to [..., D], in the type of its module."""
        return cast(Tensor, self.inserted[adapter_name](self.in_type_of(adapter_name, hidden)))

    def behind(self, adapter_name: str, hidden: Tensor) -> Tensor:
        """Return [..., D] with what an adapter adds to it."""
        return hidden + self.made(adapter_name, hidden).to(hidden.dtype)

    def in_type_of(self, adapter_name: str, hidden: Tensor) -> Tensor:
        """Return hidden states in the type of an adapter's module, unless peft is told to leave types alone."""
        return self._cast_input_dtype(hidden, self.type_of(adapter_name))

    def type_of(self, adapter_name: str) -> torch.dtype:
        """Return the type of an adapter's module."""
        return next(self.inserted[adapter_name].parameters()).dtype

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Map what the module takes to [..., D]."""
        active = self.active()
        hidden: Tensor = self.base_layer(x, *args, **kwargs)
        for name in active:
            hidden = self.behind(name, hidden)
        return hidden


class InsertedTuner(Tuner):
    """A method whose modules stand behind those of the model. It cannot be merged."""

    title: ClassVar[str]

    def names_at(self, view: BackboneView, placement: Placement) -> list[str]:
        """Return the names of the modules behind which adapters stand, in each layer.

        Raises:
            UserError: the family has none.
        """
        found = sites(view, placement)
        require(bool(found), f"{self.title}: the layers of the model have no place for it ({placement})")
        return view.site_names(*found)

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """Take the adapter's name out where peft does not look for it: before the parts of a module."""
        place = cls.tuner_layer_cls.adapter_layer_names[0]
        if f".{place}.{adapter_name}." in key:
            return key.replace(f".{place}.{adapter_name}.", f".{place}.")
        return super()._remove_adapter_name_from_key(key, adapter_name)

    def joined(self, configs: list[Any]) -> Any:
        """Refuse a sum of adapters.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self.title}: adapters cannot be added up: their modules are not linear")

    def _check_merge_allowed(self) -> None:
        raise ValueError(f"{self.title} cannot be merged: its modules are not linear")
