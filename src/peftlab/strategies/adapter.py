"""Adapters (Houlsby et al., 2019, arXiv 1902.00751): small bottlenecks between the parts of a frozen transformer."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from peftlab.backbones.backbone import Backbone
from peftlab.backbones.geometry import Place
from peftlab.errors import require
from peftlab.layers.bottleneck import Bottleneck, Init, Nonlinearity, linear_bottleneck
from peftlab.layers.placement import Placement, has_places, place
from peftlab.strategies.bases.inserted import InsertedStrategy


@dataclass
class Adapter(InsertedStrategy):
    """Tune bottlenecks put into each layer: x + up(f(down(x))).

    Options (defaults and their sources in `conf/strategy/adapter.yaml`):
        bottleneck: size between the two projections.
        placement: `houlsby`, after attention and after the feed-forward, before the residual is added; `pfeiffer`,
            after the feed-forward's residual and LayerNorm (arXiv 2005.00247); `parallel`, beside the feed-forward
            (arXiv 2110.04366).
        nonlinearity: between the projections.
        init: how the projections start; see `linear_bottleneck`.
        scale: factor on a bottleneck's output.
        layer_norms: whether every LayerNorm of the backbone is tuned too.
    """

    name = "adapter"

    bottleneck: int = 64
    placement: Placement = "houlsby"
    nonlinearity: Nonlinearity = "swish"
    init: Init = "normal"
    scale: float = 1.0
    layer_norms: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.bottleneck >= 1, f"strategy.bottleneck={self.bottleneck}: allowed is 1 or more")
        fits = math.isfinite(self.scale) and self.scale != 0
        require(fits, f"strategy.scale={self.scale}: allowed are numbers other than 0")
        self._norms: dict[str, nn.Parameter] = {}
        self._pretrained: dict[str, Tensor] = {}

    @property
    def start_tolerance(self) -> float:
        """N(0, 0.02) is not nothing: on tiny models 0.0004, for `pfeiffer` 0.016; `near-identity` measures 1e-6."""
        return {"normal": 0.05, "near-identity": 1e-5, "identity": 0.0}[self.init]

    def check(self, backbone: Backbone) -> None:
        """Refuse a placement that the architecture has no place for."""
        fits = has_places(backbone.geometry, self.placement)
        require(fits, f"strategy.placement={self.placement}: backbone {backbone.name} has no place for it")

    def build(self, backbone: Backbone) -> dict[tuple[int, Place], nn.Module]:
        """Return a bottleneck for each place of each layer."""
        width = backbone.geometry.hidden_size

        def bottleneck() -> Bottleneck:
            return linear_bottleneck(width, self.bottleneck, self.nonlinearity, self.init, self.scale)

        return place(backbone.geometry, self.placement, bottleneck)

    def tuned(self) -> dict[str, nn.Parameter]:
        """Return the bottlenecks' parameters, and the LayerNorms' by their names in the backbone."""
        return {**super().tuned(), **self._norms}

    def _attach(self, backbone: Backbone, selection: Any) -> None:
        if self.layer_norms:
            self._norms = _layer_norms(backbone)
            self._pretrained = {name: p.detach().cpu().clone() for name, p in self._norms.items()}
        super()._attach(backbone, selection)
        for parameter in self._norms.values():
            parameter.requires_grad_(True)

    def _detach(self, backbone: Backbone) -> None:
        super()._detach(backbone)
        with torch.no_grad():
            for name, parameter in self._norms.items():
                parameter.copy_(self._pretrained[name])
        self._norms = {}


def _layer_norms(backbone: Backbone) -> dict[str, nn.Parameter]:
    """Return weight and bias of every LayerNorm of the backbone, by their names in the whole model."""
    norms = {name: module for name, module in backbone.model.named_modules() if isinstance(module, nn.LayerNorm)}
    return {full: p for name, module in norms.items() for full, p in module.named_parameters(prefix=name)}
