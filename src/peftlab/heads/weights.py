"""The weights that belong to each head, wherever a family keeps them."""

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from peftlab.backbones.architecture import PROJECTIONS, Projection
from peftlab.backbones.view import BackboneView

HeadMatrix = Projection | Literal["output"]


def head_parts(view: BackboneView, layer: int, part: HeadMatrix) -> tuple[nn.Module, int, Tensor]:
    """Return where the heads of a layer have a part: a module, an axis of its weight, and places on it [H, D'].

    Heads that share keys and values have the same places.
    """
    heads = range(view.num_heads)
    if part == "output":
        places = [view.head_columns(layer, [head])[1] for head in heads]
        return view.head_output(layer), 1 - view.output_axis, torch.stack(places)
    places = [view.head_rows(layer, part, [head])[1] for head in heads]
    return view.projection(layer, part), view.axis(part), torch.stack(places)


def rows_by_module(
    view: BackboneView, layer: int, heads: Sequence[int], projections: Iterable[Projection]
) -> dict[str, tuple[list[Projection], Tensor]]:
    """Return where a layer keeps the rows of `heads`: by each module's path, the projections in it, and rows [R].

    Rows are int64 and ascend; a matrix that holds several projections has those of all of them.
    """
    found: dict[str, list[Projection]] = {}
    for which in projections:
        found.setdefault(view.head_rows(layer, which, [0])[0], []).append(which)
    rows = {path: [view.head_rows(layer, which, heads)[1] for which in inside] for path, inside in found.items()}
    return {path: (inside, torch.cat(rows[path]).sort().values) for path, inside in found.items()}


def weight_of(module: nn.Module) -> nn.Parameter:
    """Return the weight of a projection."""
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    return weight


def projection_weights(view: BackboneView) -> list[list[Tensor]]:
    """Return copies of the weights of Q, K and V of each layer, each head's as its rows [H, D', D]."""
    return [[_rows(view, layer, part) for part in PROJECTIONS] for layer in range(view.num_layers)]


def head_shift(view: BackboneView, before: list[list[Tensor]]) -> Tensor:
    """Return how far each head's weights have moved since `before`, float64 [L, H] on the CPU (ALPS).

    The distance of ALPS (Chen et al., 2025, arXiv 2505.18799) as its authors' code takes it: all weights of a head's
    Q, K and V, one after the other, are made a distribution by a softmax, which lies on evenly spaced points from 0 to
    1; the score is the Wasserstein-1 distance of those before and after tuning, the integral of |F - F'|. A head that
    shares keys and values has the rows of its group.
    """
    found = torch.zeros(view.num_layers, view.num_heads, dtype=torch.float64)
    for layer, parts in enumerate(projection_weights(view)):
        for head in range(view.num_heads):
            one, other = (_distribution(own, head) for own in (before[layer], parts))
            apart = (one - other).cumsum(0)[:-1].abs().sum() / max(len(one) - 1, 1)
            found[layer, head] = apart.cpu()
    return found


def _rows(view: BackboneView, layer: int, part: Projection) -> Tensor:
    module, axis, places = head_parts(view, layer, part)
    return weight_of(module).detach().movedim(axis, 0)[places]


def _distribution(parts: list[Tensor], head: int) -> Tensor:
    return torch.cat([part[head].flatten() for part in parts]).to(torch.float64).softmax(0)
