"""Compacter (Karimi Mahabadi et al., 2021, arXiv 2106.04647): adapters of Kronecker products with one shared rule."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import nn

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import BackboneView
from peftlab.errors import require
from peftlab.layers.bottleneck import Nonlinearity
from peftlab.layers.phm import Glorot, phm_bottleneck, shared_rule
from peftlab.layers.placement import Placement, has_sites, place
from peftlab.strategies.bases.inserted import InsertedStrategy, Modules, layer_norms
from peftlab.strategies.bases.sized import Size, SizedStrategy, number
from peftlab.strategies.traits import Traits
from peftlab.tasks.kind import TaskKind


@dataclass(frozen=True)
class Compacter(SizedStrategy, InsertedStrategy):
    """Tune bottlenecks whose projections are sums of Kronecker products, rank one, with a rule that all share.

    Options (defaults and their sources in `conf/strategy/compacter.yaml`):
        bottleneck: size between the two projections, a multiple of n.
        n: number of Kronecker products; the backbone's hidden size is a multiple of it.
        plus: Compacter++, after the feed-forward alone.
        plus_place: Compacter++ stands after the feed-forward's residual and LayerNorm, `pfeiffer`, or before them,
            `feed-forward`.
        nonlinearity: between the projections.
        init: how the factors of the products start, `glorot-normal` (gain 1) or `glorot-uniform` (gain sqrt(2)).
        rule_std: the shared rule starts from N(0, rule_std).
        layer_norms: whether every LayerNorm of the backbone is tuned too.
    """

    name = "compacter"
    sized_by = "bottleneck"
    originals: ClassVar[Mapping[str, tuple[int, int]]] = {"bottleneck": (32, 1024)}

    bottleneck: Size = 32
    n: int = 4
    plus: bool = False
    plus_place: Literal["pfeiffer", "feed-forward"] = "pfeiffer"
    nonlinearity: Nonlinearity = "gelu"
    init: Glorot = "glorot-normal"
    rule_std: float = 1e-4
    layer_norms: bool = False

    def __post_init__(self) -> None:
        require(self.n >= 1, f"strategy.n={self.n}: allowed is 1 or more")
        super().__post_init__()
        fits = self.bottleneck == "auto" or self.bottleneck % self.n == 0
        require(fits, f"strategy.bottleneck={self.bottleneck}: allowed are multiples of strategy.n={self.n}, and auto")
        positive = 0 < self.rule_std < math.inf
        require(positive, f"strategy.rule_std={self.rule_std}: allowed are numbers above 0")

    @property
    def step(self) -> int:
        """Bottlenecks are multiples of n."""
        return self.n

    @property
    def traits(self) -> Traits:
        """The rule is small, not zero: 4e-7 measured on tiny models, 1e-4 with 0.01."""
        return replace(super().traits, start_tolerance=0.1 * self.rule_std)

    @property
    def placement(self) -> Placement:
        """Where its bottlenecks stand."""
        return self.plus_place if self.plus else "houlsby"

    def skip(self, view: BackboneView, kind: TaskKind) -> str | None:
        """Name a placement that the architecture has no site for."""
        return None if has_sites(view, self.placement) else f"its layers have no site for placement={self.placement}"

    def check(self, backbone: Backbone) -> None:
        """Refuse an n that the hidden size is no multiple of."""
        width = backbone.view.hidden_size
        require(
            width % self.n == 0,
            f"strategy.n={self.n}: allowed are divisors of the hidden size, {width} of backbone {backbone.name}",
        )

    def build(self, backbone: Backbone) -> Modules:
        """Return a bottleneck for each place of each layer; one rule is in all of them."""
        rule, width, size = shared_rule(self.n, self.rule_std), backbone.view.hidden_size, number(self.bottleneck)
        return place(
            backbone.view,
            self.placement,
            lambda: phm_bottleneck(rule, width, size, self.nonlinearity, self.init),
        )

    def beside(self, backbone: Backbone) -> dict[str, nn.Parameter]:
        """Return every LayerNorm, where they are tuned too."""
        return layer_norms(backbone) if self.layer_norms else {}
