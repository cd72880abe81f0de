"""AdapterBias (Fu et al., 2022, arXiv 2205.00305): a shift that depends on the token, along one vector a layer."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import Site, input_width
from peftlab.layers.placement import BesideModule, Joined, ShiftedFeedForward
from peftlab.layers.token_shift import TokenShift
from peftlab.strategies.attached import Attached
from peftlab.strategies.bases.inserted import AttachedModules, InsertedStrategy, Modules, layer_norms

# Where the shift is put in, and how: by whether the architecture has `feed_forward_output`.
_FORMS: dict[bool, tuple[Site, type[Joined]]] = {
    True: ("feed_forward_output", ShiftedFeedForward),
    False: ("feed_forward_down", BesideModule),
}


@dataclass(frozen=True)
class AdapterBias(InsertedStrategy):
    """Tune shifts of the feed-forward's output (Eq. 1): a scalar for each token times a learned vector v.

    The scalar is a linear function of what the second projection takes.

    Options (defaults and their sources in `conf/strategy/adapterbias.yaml`):
        share: whether all layers share that linear function.
        layer_norms: whether the norms are tuned too, all but those after attention.
        decay: whether weight decay acts on v, a vector, as it does on matrices.
    """

    name = "adapterbias"

    share: bool = False
    layer_norms: bool = True
    decay: bool = False

    def build(self, backbone: Backbone) -> Modules:
        """Return each layer's feed-forward output with a shift; where residuals are added outside, its projection."""
        view = backbone.view
        site, join = _FORMS[view.has("feed_forward_output")]
        shared = _alpha(backbone) if self.share else None
        return {
            (layer, site): join(view.at(layer, site), TokenShift(shared or _alpha(backbone), view.hidden_size))
            for layer in range(view.num_layers)
        }

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        """Put the shifts in."""
        return AttachedAdapterBias(self, backbone, selection)

    def beside(self, backbone: Backbone) -> dict[str, nn.Parameter]:
        """Return the norms of the embeddings and after the feed-forwards; those of a pre-norm backbone all."""
        return layer_norms(backbone, "attention_norm") if self.layer_norms else {}


class AttachedAdapterBias(AttachedModules):
    """Shifts in the feed-forwards of a frozen backbone."""

    strategy: AdapterBias

    def decays(self, name: str, parameter: nn.Parameter) -> bool:
        """Return whether weight decay acts on a parameter: on matrices, and where it is asked for on v."""
        return super().decays(name, parameter) or (self.strategy.decay and name.endswith(".vector"))


def _alpha(backbone: Backbone) -> nn.Linear:
    """Return a linear function of a feed-forward's inner values, drawn as the authors' model draws its own."""
    alpha = nn.Linear(input_width(backbone.view.at(0, "feed_forward_down")), 1)
    nn.init.normal_(alpha.weight, std=0.02)
    nn.init.zeros_(alpha.bias)
    return alpha
