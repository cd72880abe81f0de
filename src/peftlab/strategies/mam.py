"""Mix-and-match (He et al., 2022, arXiv 2110.04366): a prefix, and adapters beside the feed-forward."""

from dataclasses import dataclass

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import BackboneView
from peftlab.errors import require
from peftlab.layers.bottleneck import Bottleneck, linear_bottleneck
from peftlab.layers.placement import has_sites, place
from peftlab.strategies.bases.inserted import Modules
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

    mlp: int | None = 800
    bottleneck: int = 512
    scale: float = 4.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.bottleneck >= 1, f"strategy.bottleneck={self.bottleneck}: allowed is 1 or more")

    def skip(self, view: BackboneView, kind: TaskKind) -> str | None:
        """Name an architecture that takes no prefix, or whose feed-forward nothing can stand beside."""
        reason = super().skip(view, kind)
        if reason is None and not has_sites(view, "parallel"):
            reason = "the feed-forward of its layers is no module to stand beside"
        return reason

    def build(self, backbone: Backbone) -> Modules:
        """Return each layer's self-attention with a prefix, and its feed-forward with a bottleneck beside it."""
        width = backbone.view.hidden_size

        def bottleneck() -> Bottleneck:
            return linear_bottleneck(width, self.bottleneck, "relu", "identity", self.scale)

        return {**super().build(backbone), **place(backbone.view, "parallel", bottleneck)}
