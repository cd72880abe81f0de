"""AdapterBias (Fu et al., 2022, arXiv 2205.00305): a shift that depends on the token, along one vector a layer."""

from dataclasses import dataclass

from torch import nn

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import Site
from peftlab.errors import require
from peftlab.layers.placement import ShiftedFeedForward
from peftlab.layers.token_shift import TokenShift
from peftlab.strategies.bases.inserted import InsertedStrategy, layer_norms


@dataclass
class AdapterBias(InsertedStrategy):
    """Tune shifts of the feed-forward's output (Eq. 1): what its second projection takes says how far, v says whither.

    Options (defaults and their sources in `conf/strategy/adapterbias.yaml`):
        share: whether all layers share the linear function that says how far.
        layer_norms: whether the LayerNorms are tuned too, all but those after attention.
    """

    name = "adapterbias"

    share: bool = False
    layer_norms: bool = True

    def check(self, backbone: Backbone) -> None:
        """Refuse an architecture whose feed-forward takes no residual."""
        fits = backbone.view.has("feed_forward_output")
        require(fits, f"strategy=adapterbias: backbone {backbone.name} has no place for it beside the feed-forward")

    def build(self, backbone: Backbone) -> dict[tuple[int, Site], nn.Module]:
        """Return each layer's feed-forward output with a shift."""
        view = backbone.view
        place: Site = "feed_forward_output"
        shared = _alpha(backbone) if self.share else None
        return {
            (layer, place): ShiftedFeedForward(
                view.at(layer, place), TokenShift(shared or _alpha(backbone), view.hidden_size)
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
