"""LoFiT (Yin et al., 2024, arXiv 2406.01563): a vector added to the outputs of the heads that a task scales most."""

import math
from dataclasses import dataclass
from typing import Any

from peftlab.backbones.loading import Backbone
from peftlab.errors import require
from peftlab.heads.scaled_heads import ScaledHeads, longest
from peftlab.heads.scaling import ScaleTuning, scale_norms
from peftlab.layers.head_edits import HeadOffsets
from peftlab.strategies.attached import Attached
from peftlab.strategies.bases.edited_heads import AttachedEdits
from peftlab.strategies.bases.tuned_heads import check_heads
from peftlab.strategies.contract import SelectionContext, Strategy
from peftlab.strategies.traits import Traits
from peftlab.streams import Stream
from peftlab.terminal import track


@dataclass(frozen=True)
class LoFiT(Strategy):
    """Tune scaling vectors of all heads, keep the heads with the longest, then tune an offset v_h of each: y_h + v_h.

    The scaling vectors and the classifier beside them are thrown away; the offsets begin at the untouched backbone.
    They read the labels of the examples that the run is trained on, and no others.

    Options (defaults and their sources in `conf/strategy/lofit.yaml`):
        heads: share of the heads of all layers that are kept, rounded down, at least one.
        select_epochs: over the training examples, in the run's batches, that the scaling vectors are tuned for.
        select_rate: their learning rate, which falls linearly to 0.
        l1: factor on the sum of their absolute values.
        std: standard deviation of the normal numbers that scaling vectors and offsets begin with.
    """

    name = "lofit"
    selection_type = ScaledHeads

    heads: float = 0.1
    select_epochs: int = 5
    select_rate: float = 5e-3
    l1: float = 5e-4
    std: float = 1e-3

    def __post_init__(self) -> None:
        require(0 < self.heads <= 1, f"strategy.heads={self.heads}: allowed is above 0, up to 1")
        require(self.select_epochs >= 1, f"strategy.select_epochs={self.select_epochs}: allowed is 1 or more")
        require(0 < self.select_rate < math.inf, f"strategy.select_rate={self.select_rate}: allowed is above 0")
        for name in ("l1", "std"):
            value = getattr(self, name)
            require(0 <= value < math.inf, f"strategy.{name}={value}: allowed is 0 or more")

    @property
    def traits(self) -> Traits:
        """Offsets begin near 0; the product with them is added to a bias, a sum in another order."""
        return Traits(start_tolerance=10 * self.std, merge_tolerance=1e-5)

    def select(self, context: SelectionContext) -> ScaledHeads:
        """Tune the scaling vectors and keep the heads with the longest."""
        data, backbone = context.data, context.backbone
        examples = data.sample(None, context.seed, "shots", Stream.HEAD_SCALES_ORDER)
        steps = self.select_epochs * math.ceil(len(examples) / data.batch_size)
        how = ScaleTuning(steps, self.select_rate, self.l1, self.std, context.seed)
        endless = data.batches(examples, data.batch_size, context.device, "endless")
        shown = track(endless, "scaling heads", steps)
        norms = scale_norms(backbone.model, backbone.view, data.loss_of(backbone), shown, how)
        return longest(norms, self.heads)

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        """Put offsets on the outputs of the chosen heads."""
        return AttachedOffsets(self, backbone, selection)


class AttachedOffsets(AttachedEdits):
    """Offsets on the outputs of chosen heads of a frozen backbone."""

    strategy: LoFiT

    def _insert(self, selection: Any) -> None:
        self._start()
        view = self.backbone.view
        check_heads(selection.heads, view, f"backbone {self.backbone.name}")
        for layer, heads in enumerate(selection.heads):
            if heads:
                path, columns = view.head_columns(layer, sorted(heads))
                self._put(layer, path, HeadOffsets(self.model.get_submodule(path), columns, self.strategy.std))
