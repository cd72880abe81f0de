"""How a transformer layer takes a bottleneck: after a module, around a LayerNorm, beside the feed-forward."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Literal, cast

from torch import Tensor, nn

from peftlab.backbones.view import BackboneView, Site

Placement = Literal["houlsby", "pfeiffer", "feed-forward", "parallel"]


class Joined(nn.Module):
    """An adapter joined to the frozen module in whose place it stands.

    Set `dropped`, and the frozen module stands there alone: nothing of the adapter is computed.
    """

    def __init__(self, frozen: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.frozen = frozen
        self.adapter = adapter
        self.dropped = False

    def forward(self, *inputs: Tensor) -> Tensor:
        """Map what the frozen module takes to [..., D]."""
        return cast(Tensor, self.frozen(*inputs) if self.dropped else self.join(*inputs))

    @abstractmethod
    def join(self, *inputs: Tensor) -> Tensor:
        """Return what both make together, [..., D]."""


class AfterModule(Joined):
    """h = frozen(x); h + adapter(h): in the place of the last module before a residual is added."""

    def join(self, *inputs: Tensor) -> Tensor:
        """Map x [..., D] to [..., D]."""
        hidden = self.frozen(*inputs)
        return cast(Tensor, hidden + self.adapter(hidden))


class AroundNorm(Joined):
    """norm(x + adapter(norm(x))) in the place of a LayerNorm, whose input x holds the residual already."""

    def join(self, *inputs: Tensor) -> Tensor:
        """Map x [..., D] to [..., D]."""
        (hidden,) = inputs
        return cast(Tensor, self.frozen(hidden + self.adapter(self.frozen(hidden))))


class BesideFeedForward(Joined):
    """FFN(x) + x + adapter(x), then LayerNorm, in the place of a feed-forward's output module.

    That module adds the residual x to what it computes, so the adapter's output travels with the residual.
    """

    def join(self, *inputs: Tensor) -> Tensor:
        """Map the inner values [..., N] and the residual [..., D] to [..., D]."""
        inner, residual = inputs
        return cast(Tensor, self.frozen(inner, residual + self.adapter(residual)))


class ShiftedFeedForward(Joined):
    """FFN(x) + x + adapter(inner), then LayerNorm, where inner are the values inside the feed-forward."""

    def join(self, *inputs: Tensor) -> Tensor:
        """Map the inner values [..., N] and the residual [..., D] to [..., D]."""
        inner, residual = inputs
        return cast(Tensor, self.frozen(inner, residual + self.adapter(inner)))


_PLACEMENTS: dict[Placement, tuple[tuple[Site, ...], Callable[[nn.Module, nn.Module], Joined]]] = {
    "houlsby": (("attention_end", "feed_forward_end"), AfterModule),
    "pfeiffer": (("feed_forward_norm",), AroundNorm),
    "feed-forward": (("feed_forward_end",), AfterModule),
    "parallel": (("feed_forward_output",), BesideFeedForward),
}


def has_sites(view: BackboneView, placement: Placement) -> bool:
    """Return whether the architecture has the places that `placement` needs."""
    return all(view.has(place) for place in _PLACEMENTS[placement][0])


def place(view: BackboneView, placement: Placement, make: Callable[[], nn.Module]) -> dict[tuple[int, Site], nn.Module]:
    """Return what is to stand in each place of each layer: a new adapter joined to the module that stands there.

    Args:
        view: the layers; they are not touched.
        placement: `houlsby`, after attention and after the feed-forward, each before its residual is added;
            `pfeiffer`, after the feed-forward's residual and LayerNorm, which then follow once more;
            `feed-forward`, after it alone, before the residual is added; `parallel`, beside it.
        make: returns a new adapter, [..., D] to [..., D].
    """
    places, join = _PLACEMENTS[placement]
    return {(layer, where): join(view.at(layer, where), make()) for layer in range(view.num_layers) for where in places}
