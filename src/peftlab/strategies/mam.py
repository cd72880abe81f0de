"""Mix-and-match (He et al., 2022, arXiv 2110.04366): a prefix, and adapters beside the feed-forward."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import BackboneView
from peftlab.layers.bottleneck import Bottleneck, linear_bottleneck
from peftlab.layers.placement import has_sites, place
from peftlab.strategies.bases.inserted import Modules
from peftlab.strategies.bases.sized import Size, number
from peftlab.strategies.prefix import Prefix
from peftlab.tasks.kind import TaskKind


@dataclass(frozen=True)
class MixAndMatch(Prefix):
    """Tune a prefix and, in every layer, a bottleneck beside the feed-forward: x + FFN(x) + s up(relu(down(x))).

    Options beside those of `Prefix` (defaults and their sources in `conf/strategy/mam.yaml`):
        bottleneck: size between the two projections.
        scale: s.
    """

    name = "mam"
    sized_by = "bottleneck"
    originals: ClassVar[Mapping[str, tuple[int, int]]] = {"bottleneck": (512, 1024), "mlp": (800, 1024)}

    mlp: Size | None = 800
    bottleneck: Size = 512
    scale: float = 4.0

    def skip(self, view: BackboneView, kind: TaskKind) -> str | None:
        """Name an architecture that takes no prefix, or whose feed-forward nothing can stand beside."""
        reason = super().skip(view, kind)
        if reason is None and not has_sites(view, "parallel"):
            reason = "the feed-forward of its layers is no module to stand beside"
        return reason

    def build(self, backbone: Backbone) -> Modules:
        """Return each layer's self-attention with a prefix, and its feed-forward with a bottleneck beside it."""
        width, size = backbone.view.hidden_size, number(self.bottleneck)

        def bottleneck() -> Bottleneck:
            return linear_bottleneck(width, size, "relu", "identity", self.scale)

        return {**super().build(backbone), **place(backbone.view, "parallel", bottleneck)}
