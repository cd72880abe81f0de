"""Adapters (Houlsby et al., 2019, arXiv 1902.00751): small bottlenecks between the parts of a frozen transformer."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import BackboneView
from peftlab.errors import require
from peftlab.layers.bottleneck import Bottleneck, Init, Nonlinearity, linear_bottleneck
from peftlab.layers.placement import Placement, has_sites, place
from peftlab.strategies.bases.inserted import InsertedStrategy, Modules, layer_norms
from peftlab.strategies.bases.sized import Size, SizedStrategy, number
from peftlab.strategies.traits import Traits
from peftlab.tasks.kind import TaskKind


@dataclass(frozen=True)
class Adapter(SizedStrategy, InsertedStrategy):
    """Tune bottlenecks put into each layer: x + up(f(down(x))).

    Options (defaults and their sources in `conf/strategy/adapter.yaml`):
        bottleneck: size between the two projections.
        placement: `houlsby`, after attention and after the feed-forward, before the residual is added; `pfeiffer`,
            after the feed-forward's residual and LayerNorm (arXiv 2005.00247); `feed-forward`, the second of Houlsby's
            alone; `parallel`, beside the feed-forward (arXiv 2110.04366).
        nonlinearity: between the projections.
        init: how the projections start; see `linear_bottleneck`.
        scale: factor on a bottleneck's output.
        layer_norms: whether every LayerNorm of the backbone is tuned too.
    """

    name = "adapter"
    sized_by = "bottleneck"
    originals: ClassVar[Mapping[str, tuple[int, int]]] = {"bottleneck": (64, 1024)}

    bottleneck: Size = 64
    placement: Placement = "houlsby"
    nonlinearity: Nonlinearity = "swish"
    init: Init = "normal"
    scale: float = 1.0
    layer_norms: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = math.isfinite(self.scale) and self.scale != 0
        require(fits, f"strategy.scale={self.scale}: allowed are numbers other than 0")

    @property
    def traits(self) -> Traits:
        """N(0, 0.02) is not nothing: on tiny models 0.0004, for `pfeiffer` 0.016; `near-identity` measures 1e-6."""
        tolerance = {"normal": 0.05, "near-identity": 1e-5, "identity": 0.0}[self.init]
        return replace(super().traits, start_tolerance=tolerance)

    def skip(self, view: BackboneView, kind: TaskKind) -> str | None:
        """Name a placement that the architecture has no site for."""
        return None if has_sites(view, self.placement) else f"its layers have no site for placement={self.placement}"

    def build(self, backbone: Backbone) -> Modules:
        """Return a bottleneck for each place of each layer."""
        width, size = backbone.view.hidden_size, number(self.bottleneck)

        def bottleneck() -> Bottleneck:
            return linear_bottleneck(width, size, self.nonlinearity, self.init, self.scale)

        return place(backbone.view, self.placement, bottleneck)

    def beside(self, backbone: Backbone) -> dict[str, nn.Parameter]:
        """Return every LayerNorm, where they are tuned too."""
        return layer_norms(backbone) if self.layer_norms else {}
