"""A method of a user's own, in one file: a gain on each value that a layer's feed-forward gives.

`--config-dir` names the folder that has `strategy/my-method.yaml`, `plugins=[my_method]` this file. The gain begins at
1 and is merged into the rows of the projection before it, as IA3's on the feed-forward is (arXiv 2205.05638).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from peftlab.backbones.loading import Backbone
from peftlab.heads.ranking import RankingContext, Score
from peftlab.strategies.attached import Attached
from peftlab.strategies.contract import Strategy, Traits


class Gain(nn.Module):
    """A projection whose values [..., D] are multiplied by a gain [D]."""

    def __init__(self, frozen: nn.Linear) -> None:
        super().__init__()
        self.frozen = frozen
        self.gain = nn.Parameter(torch.ones(frozen.out_features))

    def forward(self, inner: Tensor) -> Tensor:
        return self.gain * self.frozen(inner)


class AttachedGains(Attached):
    """Gains on the feed-forwards of a model."""

    def _insert(self, selection: Any) -> None:
        view = self.backbone.view
        self.gains: dict[int, Gain] = {}
        for layer in range(0, view.num_layers, self.strategy.every):
            self.gains[layer] = Gain(view.at(layer, "feed_forward_down"))
            view.replace(layer, "feed_forward_down", self.gains[layer])

    def _remove(self) -> None:
        for layer, module in self.gains.items():
            self.backbone.view.replace(layer, "feed_forward_down", module.frozen)

    def tuned(self) -> dict[str, nn.Parameter]:
        return {f"layers.{layer}.gain": module.gain for layer, module in self.gains.items()}

    @torch.no_grad()
    def _merge(self) -> None:
        for module in self.gains.values():
            module.frozen.weight *= module.gain[:, None]
            module.frozen.bias *= module.gain
        self._remove()


@dataclass(frozen=True)
class MyMethod(Strategy):
    """Options: every: one layer in how many has gains."""

    name = "my-method"

    every: int = 1

    @property
    def traits(self) -> Traits:
        return Traits(merge_tolerance=1e-5)

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        return AttachedGains(self, backbone, selection)


class Last(Score):
    """A score of heads of the user's own: the last ones."""

    name = "last"

    def rank(self, context: RankingContext) -> Tensor:
        return torch.arange(context.richness.shape[-1]).expand_as(context.richness)
