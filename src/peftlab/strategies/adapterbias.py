"""AdapterBias (Fu et al., 2022, arXiv 2205.00305): a shift that depends on the token, along one vector a layer."""

from dataclasses import dataclass

from torch import nn

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import BackboneView, Site
from peftlab.layers.placement import ShiftedFeedForward
from peftlab.layers.token_shift import TokenShift
from peftlab.strategies.bases.inserted import InsertedStrategy, Modules, layer_norms
from peftlab.tasks.kind import TaskKind

_SITE: Site = "feed_forward_output"


@dataclass(frozen=True)
class AdapterBias(InsertedStrategy):
    """Tune shifts of the feed-forward's output (Eq. 1): a scalar for each token times a learned vector v.

    The scalar is a linear function of what the second projection takes.

    Options (defaults and their sources in `conf/strategy/adapterbias.yaml`):
        share: whether all layers share that linear function.
        layer_norms: whether the LayerNorms are tuned too, all but those after attention.
    """

    name = "adapterbias"

    share: bool = False
    layer_norms: bool = True

    def skip(self, view: BackboneView, kind: TaskKind) -> str | None:
        """Name an architecture whose feed-forward takes no residual."""
        return None if view.has(_SITE) else "the feed-forward of its layers takes no residual to stand beside"

    def build(self, backbone: Backbone) -> Modules:
        """Return each layer's feed-forward output with a shift."""
        view = backbone.view
        shared = _alpha(backbone) if self.share else None
        return {
            (layer, _SITE): ShiftedFeedForward(
                view.at(layer, _SITE), TokenShift(shared or _alpha(backbone), view.hidden_size)
            )
            for layer in range(view.num_layers)
        }

    def beside(self, backbone: Backbone) -> dict[str, nn.Parameter]:
        """Return the LayerNorms of the embeddings and after the feed-forwards."""
        return layer_norms(backbone, "attention_norm") if self.layer_norms else {}


def _alpha(backbone: Backbone) -> nn.Linear:
    """Return a linear function of a feed-forward's inner values, drawn as the authors' model draws its own."""
    down = backbone.view.at(0, "feed_forward_down")
    assert isinstance(down, nn.Linear)
    alpha = nn.Linear(down.in_features, 1)
    nn.init.normal_(alpha.weight, std=0.02)
    nn.init.zeros_(alpha.bias)
    return alpha
