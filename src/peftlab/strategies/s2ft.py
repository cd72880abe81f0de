"""S2FT (Yang et al., 2024, arXiv 2412.06289): random heads, tuned where they lie in V and O; inner values in down."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import input_width, weight_axis
from peftlab.errors import prefix_errors, require
from peftlab.heads.selection import ChosenHeads
from peftlab.layers.head_rows import HeadColumnsLinear
from peftlab.masks.random_parts import RandomParts, draw
from peftlab.strategies.attached import Attached
from peftlab.strategies.bases.tuned_heads import AttachedHeads, Part, check_parts
from peftlab.strategies.contract import SelectionContext, Strategy

_DOWN: Literal["feed_forward_down"] = "feed_forward_down"


@dataclass(frozen=True)
class S2FT(Strategy):
    """Draw heads of all layers at once, and tune what belongs to them; no data is read for the choice.

    The authors permute weights so that the chosen ones lie side by side; here they stay where they are, which gives
    the same model. Rows of V and columns of O are those of the same heads: the paper's coupled structures.

    Options (defaults and their sources in `conf/strategy/s2ft.yaml`):
        heads: share of the heads of all layers.
        rows: which weights of a chosen head are tuned: rows of `v`, columns of `o`; `q` and `k` as well.
        down: share of the feed-forwards' inner values, whose columns of the down projection are tuned.
    """

    name = "s2ft"
    selection_type = RandomParts

    heads: float = 0.052
    rows: list[Part] = field(default_factory=lambda: ["v", "o"])
    down: float = 0.0

    def __post_init__(self) -> None:
        for name in ("heads", "down"):
            share = getattr(self, name)
            require(0 <= share <= 1, f"strategy.{name}={share}: allowed is 0 to 1")
        require(self.heads > 0 or self.down > 0, "strategy.heads=0.0: allowed is above 0, or strategy.down above 0")
        with prefix_errors("strategy."):
            check_parts(self.rows)

    @property
    def bias(self) -> bool:
        """No biases are tuned."""
        return False

    def check(self, backbone: Backbone) -> None:
        """Refuse columns of a down projection that the backbone does not have."""
        has = backbone.view.has(_DOWN)
        require(has or not self.down, f"strategy.down={self.down}: allowed is 0, backbone {backbone.name} has none")

    def select(self, context: SelectionContext) -> RandomParts:
        """Draw heads and inner values by the run's seed."""
        self.check(context.backbone)
        view = context.backbone.view
        inner = input_width(view.at(0, _DOWN)) if self.down else 0
        return RandomParts(
            draw(self.heads, view.num_layers, view.num_heads, context.seed, part=0),
            draw(self.down, view.num_layers, inner, context.seed, part=1),
        )

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        """Let parameters stand for the weights of what was drawn."""
        return AttachedS2FT(self, backbone, selection)


class AttachedS2FT(AttachedHeads):
    """Weights of chosen heads, and columns of down projections, beside all that is frozen."""

    strategy: S2FT

    def _insert(self, selection: Any) -> None:
        super()._insert(ChosenHeads(selection.heads))
        given, layers = len(selection.inner), self.backbone.view.num_layers
        require(given == layers, f"selection: inner values of {given} layers, the backbone has {layers}")
        for layer, inner in enumerate(selection.inner):
            if inner:
                self._insert_down(layer, inner)

    def _insert_down(self, layer: int, inner: Sequence[int]) -> None:
        path = self.backbone.view.site_names(_DOWN)[layer]
        frozen = self.model.get_submodule(path)
        width = input_width(frozen)
        valid = len(set(inner)) == len(inner) and all(0 <= number < width for number in inner)
        require(valid, f"selection: inner values of layer {layer}: allowed are 0 to {width - 1}, each once")
        columns = torch.tensor(sorted(inner))
        self._replace(f"layers.{layer}.down", path, HeadColumnsLinear(frozen, columns, weight_axis(frozen)))
