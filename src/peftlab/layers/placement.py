"""How a transformer layer takes a bottleneck: after a module, around a LayerNorm, beside the feed-forward."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Literal, cast

from torch import Tensor, nn

from peftlab.backbones.view import BackboneView, Site
from peftlab.errors import require

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

    def __getattr__(self, name: str) -> Any:
        """Return what the model asks of the frozen module, as the type of its weight."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("frozen"), name)

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


class BesideModule(Joined):
    """frozen(x) + adapter(x), in the place of a feed-forward that is a module of its own."""

    def join(self, *inputs: Tensor) -> Tensor:
        """Map x [..., D] to [..., D]."""
        return cast(Tensor, self.frozen(*inputs) + self.adapter(*inputs))


class AfterLayer(Joined):
    """h = layer(x); h + adapter(h), in the place of a whole layer."""

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Map what the layer takes to what it gives: [..., D], or that with more after it."""
        outputs = self.frozen(*inputs, **options)
        if self.dropped:
            return outputs
        return (self.join(outputs[0]), *outputs[1:]) if isinstance(outputs, tuple) else self.join(outputs)

    def join(self, *inputs: Tensor) -> Tensor:
        """Map h [..., D] to [..., D]."""
        (hidden,) = inputs
        return cast(Tensor, hidden + self.adapter(hidden))


_Way = tuple[tuple[Site, ...], type[Joined]]
# The ways of each placement, of which an architecture takes the first that it has all sites for.
_PLACEMENTS: dict[Placement, tuple[_Way, ...]] = {
    "houlsby": ((("attention_end", "feed_forward_end"), AfterModule),),
    "pfeiffer": ((("feed_forward_norm",), AroundNorm), (("layer",), AfterLayer)),
    "feed-forward": ((("feed_forward_end",), AfterModule),),
    "parallel": ((("feed_forward_output",), BesideFeedForward), (("feed_forward",), BesideModule)),
}


def has_sites(view: BackboneView, placement: Placement) -> bool:
    """Return whether the architecture has the places that `placement` needs."""
    return bool(_ways(view, placement))


def sites(view: BackboneView, placement: Placement) -> tuple[Site, ...]:
    """Return where in each layer adapters stand; nowhere where the architecture has not all of the places."""
    return next((found for found, _ in _ways(view, placement)), ())


def place(view: BackboneView, placement: Placement, make: Callable[[], nn.Module]) -> dict[tuple[int, Site], nn.Module]:
    """Return what is to stand in each place of each layer: a new adapter joined to the module that stands there.

    Args:
        view: the layers; they are not touched.
        placement: `houlsby`, after attention and after the feed-forward, each before its residual is added;
            `pfeiffer`, after the feed-forward's residual and LayerNorm, which then follow once more; where LayerNorms
            stand before, after the residual, as in the adapters library; `feed-forward`, after it alone, before the
            residual is added; `parallel`, beside it, with the same input.
        make: returns a new adapter, [..., D] to [..., D].

    Raises:
        UserError: the architecture has none of the places.
    """
    ways = _ways(view, placement)
    require(bool(ways), f"placement={placement}: the layers of this backbone have no place for it")
    found, join = ways[0]
    return {(layer, site): join(view.at(layer, site), make()) for layer in range(view.num_layers) for site in found}


def _ways(view: BackboneView, placement: Placement) -> list[_Way]:
    return [way for way in _PLACEMENTS[placement] if all(map(view.has, way[0]))]
