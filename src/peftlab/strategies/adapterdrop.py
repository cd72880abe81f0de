"""AdapterDrop (Rücklé et al., 2021, arXiv 2010.11918): adapters without those of the first layers."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import BackboneView
from peftlab.errors import require
from peftlab.layers.bottleneck import Nonlinearity
from peftlab.layers.placement import Joined, Placement
from peftlab.strategies.adapter import Adapter
from peftlab.strategies.attached import Attached
from peftlab.strategies.bases.inserted import AttachedModules, Modules
from peftlab.strategies.traits import Traits
from peftlab.tasks.kind import TaskKind


@dataclass(frozen=True)
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
    def traits(self) -> Traits:
        """Each batch goes without the layers that are drawn for it."""
        return replace(super().traits, sparse_gradients=self.robust)

    def skip(self, view: BackboneView, kind: TaskKind) -> str | None:
        """Name a backbone with one layer, as where all depths share one: none can go without."""
        alone = "it has one layer with weights of its own, which cannot go without" if view.num_layers == 1 else None
        return super().skip(view, kind) or alone

    def check(self, backbone: Backbone) -> None:
        """Refuse to drop more layers than leave one with an adapter."""
        last = backbone.view.num_layers - 1
        require(
            self.drop is None or 0 <= self.drop <= last,
            f"strategy.drop={self.drop}: allowed are 0 to {last}, one less than the layers of backbone {backbone.name}",
        )

    def build(self, backbone: Backbone) -> Modules:
        """Return a bottleneck for each site of each layer that ever has one."""
        first = 0 if self.robust else self.dropped_layers(backbone)
        return {key: module for key, module in super().build(backbone).items() if key[0] >= first}

    def dropped_layers(self, backbone: Backbone) -> int:
        """Return n, how many layers evaluation goes without."""
        return round(5 / 12 * backbone.view.num_layers) if self.drop is None else self.drop

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        """Put the adapters in."""
        return AttachedAdapterDrop(self, backbone, selection)


class AttachedAdapterDrop(AttachedModules):
    """Adapters of which each batch goes without the first layers'."""

    strategy: AdapterDrop

    def _insert(self, selection: Any) -> None:
        # The base model is no method's to wrap: its hook decides before any layer runs.
        self._hook = self.backbone.view.base.register_forward_pre_hook(self._drop)
        super()._insert(selection)

    def _remove(self) -> None:
        self._hook.remove()
        super()._remove()

    def _drop(self, model: nn.Module, *_: Any) -> None:
        """Before a batch: decide which layers go without. Recomputed layers (checkpointing) keep the decision."""
        drawn = self.strategy.robust and model.training
        layers = self.backbone.view.num_layers
        dropped = int(torch.randint(layers, ())) if drawn else self.strategy.dropped_layers(self.backbone)
        for (layer, _site), module in self._modules.items():
            assert isinstance(module, Joined)
            module.dropped = layer < dropped
