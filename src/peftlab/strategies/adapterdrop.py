"""AdapterDrop (Rücklé et al., 2021, arXiv 2010.11918): adapters without those of the first layers."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from peftlab.backbones.loading import Backbone
from peftlab.errors import require
from peftlab.layers.bottleneck import Nonlinearity
from peftlab.layers.placement import Joined, Placement
from peftlab.strategies.adapter import Adapter


@dataclass
class AdapterDrop(Adapter):
    """Adapters of which the first layers' are dropped: nothing there to compute, nothing below to differentiate.

    Options beside those of `Adapter` (defaults and their sources in `conf/strategy/adapterdrop.yaml`):
        drop: n, how many layers go without, counted from the embeddings; null is five in twelve.
        robust: train every layer's, with an n drawn anew from 0 to L - 1 for each batch, so that any n may be chosen
            to evaluate with; otherwise the first `drop` layers never have one (the paper's specialised form).
    """

    name = "adapterdrop"

    placement: Placement = "pfeiffer"
    nonlinearity: Nonlinearity = "relu"
    drop: int | None = None
    robust: bool = True

    @property
    def sparse_gradients(self) -> bool:
        """Each batch goes without the layers that are drawn for it."""
        return self.robust

    def check(self, backbone: Backbone) -> None:
        """Refuse to drop more layers than leave one with an adapter."""
        super().check(backbone)
        last = backbone.view.num_layers - 1
        require(
            self.drop is None or 0 <= self.drop <= last,
            f"strategy.drop={self.drop}: allowed are 0 to {last}, one less than the layers of backbone {backbone.name}",
        )

    def build(self, backbone: Backbone) -> dict[tuple[int, Any], nn.Module]:
        """Return a bottleneck for each place of each layer that ever has one."""
        layers = backbone.view.num_layers
        self._chosen = round(5 / 12 * layers) if self.drop is None else self.drop
        first = 0 if self.robust else self._chosen
        return {key: module for key, module in super().build(backbone).items() if key[0] >= first}

    def _attach(self, backbone: Backbone, selection: Any) -> None:
        super()._attach(backbone, selection)
        self._hook = backbone.model.base_model.register_forward_pre_hook(self._drop)

    def _detach(self, backbone: Backbone) -> None:
        self._hook.remove()
        super()._detach(backbone)

    def _drop(self, model: nn.Module, *_: Any) -> None:
        """Before a batch: decide which layers go without. Recomputed layers (checkpointing) keep the decision."""
        layers = self.backbone.view.num_layers
        drawn = self.robust and model.training
        dropped = int(torch.randint(layers, ())) if drawn else self._chosen
        for (layer, _place), module in self._modules.items():
            assert isinstance(module, Joined)
            module.dropped = layer < dropped
