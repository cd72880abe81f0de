"""How a transformer layer takes a bottleneck: after a module, around a LayerNorm, beside the feed-forward."""

from collections.abc import Callable
from typing import Literal, cast

from torch import Tensor, nn

from peftlab.backbones.geometry import Geometry, Place

Placement = Literal["houlsby", "pfeiffer", "feed-forward", "parallel"]


class AfterModule(nn.Module):
    """h = frozen(x); h + adapter(h): in the place of the last module before a residual is added."""

    def __init__(self, frozen: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.frozen = frozen
        self.adapter = adapter

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [..., D] to [..., D]."""
        hidden = self.frozen(inputs)
        return cast(Tensor, hidden + self.adapter(hidden))


class AroundNorm(nn.Module):
    """norm(x + adapter(norm(x))) in the place of a LayerNorm, whose input x holds the residual already."""

    def __init__(self, frozen: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.frozen = frozen
        self.adapter = adapter

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [..., D] to [..., D]."""
        return cast(Tensor, self.frozen(inputs + self.adapter(self.frozen(inputs))))


class BesideFeedForward(nn.Module):
    """FFN(x) + x + adapter(x), then LayerNorm, in the place of a feed-forward's output module.

    That module adds the residual x to what it computes, so the adapter's output travels with the residual.
    """

    def __init__(self, frozen: nn.Module, adapter: nn.Module) -> None:
        super().__init__()
        self.frozen = frozen
        self.adapter = adapter

    def forward(self, inner: Tensor, residual: Tensor) -> Tensor:
        """Map the inner values [..., N] and the residual [..., D] to [..., D]."""
        return cast(Tensor, self.frozen(inner, residual + self.adapter(residual)))


_PLACEMENTS: dict[Placement, tuple[tuple[Place, ...], Callable[[nn.Module, nn.Module], nn.Module]]] = {
    "houlsby": (("attention_end", "feed_forward_end"), AfterModule),
    "pfeiffer": (("feed_forward_norm",), AroundNorm),
    "feed-forward": (("feed_forward_end",), AfterModule),
    "parallel": (("feed_forward_output",), BesideFeedForward),
}


def has_places(geometry: Geometry, placement: Placement) -> bool:
    """Return whether the architecture has the places that `placement` needs."""
    return all(geometry.has(place) for place in _PLACEMENTS[placement][0])


def place(
    geometry: Geometry, placement: Placement, make: Callable[[], nn.Module]
) -> dict[tuple[int, Place], nn.Module]:
    """Return what is to stand in each place of each layer: a new adapter joined to the module that stands there.

    Args:
        geometry: the layers; they are not touched.
        placement: `houlsby`, after attention and after the feed-forward, each before its residual is added;
            `pfeiffer`, after the feed-forward's residual and LayerNorm, which then follow once more;
            `feed-forward`, after it alone, before the residual is added; `parallel`, beside it.
        make: returns a new adapter, [..., D] to [..., D].
    """
    places, join = _PLACEMENTS[placement]
    return {
        (layer, where): join(geometry.at(layer, where), make())
        for layer in range(geometry.num_layers)
        for where in places
    }
