"""How many heads each layer gets of one budget: the paper's k is the same for all (limitation (i))."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from peftlab.errors import require
from peftlab.heads.layer_scores import LayerScore
from peftlab.streams import Stream, seed_of

Way = Literal["uniform", "global", "share", "global-random", "share-random"]


@dataclass(frozen=True)
class Allocation:
    """How a budget of heads is divided among the tuned layers.

    Attributes:
        way: `uniform`, as many in each layer; `global`, as many as a layer has among the best of all layers' heads
            (Michel et al., 2019); `share`, in proportion to the layers' scores (GoRA; HeadKV, arXiv 2410.19258). With
            `-random` the same numbers, dealt to the layers by chance: what they are compared with.
        budget: heads in all tuned layers together; None: k for each.
        k_min, k_max: the fewest and the most that a layer gets; None: all that it has.
        layer_score: by which heads of different layers are compared (`layer_scores.py`).
    """

    way: Way = "uniform"
    budget: int | None = None
    k_min: int = 0
    k_max: int | None = None
    layer_score: LayerScore = "richness"

    @property
    def reads_scores(self) -> bool:
        """Whether the layers' scores decide."""
        return self.way != "uniform"

    def told(self) -> dict[str, Any]:
        """Return the options for a selection's file, none where each layer has k heads."""
        if self == Allocation():
            return {}
        given = {"allocation": self.way, "budget": self.budget, "k_min": self.k_min, "k_max": self.k_max}
        return {**given, "layer_score": self.layer_score} if self.reads_scores else given

    def total(self, layers: int, k: int) -> int:
        """Return the heads in all of `layers` tuned layers."""
        return layers * k if self.budget is None else self.budget

    def check(self, layers: int, heads: int, k: int) -> None:
        """Raise UserError unless `layers` layers of `heads` heads can hold the budget within the bounds."""
        most = heads if self.k_max is None else self.k_max
        require(1 <= most <= heads, f"k_max={self.k_max}: allowed is 1 to {heads}, the heads of a layer, or null")
        require(0 <= self.k_min <= most, f"k_min={self.k_min}: allowed is 0 to {most}, the most that a layer gets")
        total, lowest, highest = self.total(layers, k), max(layers * self.k_min, 1), layers * most
        told = f"budget={total}" if self.budget is not None else f"k={k}: a budget of {total}"
        require(
            lowest <= total <= highest,
            f"{told}: {layers} tuned layers of {self.k_min} to {most} heads hold {lowest} to {highest}",
        )

    def counts(self, values: Tensor, k: int, seed: int) -> list[int]:
        """Return the number of heads of each tuned layer; their sum is the budget.

        Args:
            values: the layer score of each head [L, H] of the tuned layers, float64, none negative.
            k: heads a layer where there is no budget.
            seed: deals the numbers where chance does.

        Raises:
            UserError: the budget is impossible.
        """
        layers, heads = values.shape
        self.check(layers, heads, k)
        bounds = self.k_min, heads if self.k_max is None else self.k_max
        total = self.total(layers, k)
        if self.way == "uniform":
            return in_proportion([1.0] * layers, total, *bounds)
        if self.way.startswith("global"):
            found = best_of_all(values, total, *bounds)
        else:
            found = in_proportion(values.sum(-1).tolist(), total, *bounds)
        if self.way.endswith("random"):
            generator = torch.Generator().manual_seed(seed_of(Stream.HEAD_COUNTS, seed))
            return [found[layer] for layer in torch.randperm(layers, generator=generator).tolist()]
        return found


def best_of_all(values: Tensor, total: int, least: int, most: int) -> list[int]:
    """Return how many of the `total` best heads each layer has, after its own `least` best, and up to `most`.

    values: [L, H]. Of equal heads the lower layer's come first.
    """
    layers, heads = values.shape
    counts, seen, left = [least] * layers, [0] * layers, total - layers * least
    for place in values.flatten().argsort(descending=True, stable=True).tolist():
        layer = place // heads
        seen[layer] += 1
        if left and seen[layer] > least and counts[layer] < most:
            counts[layer] += 1
            left -= 1
    return counts


def in_proportion(weights: Sequence[float], total: int, least: int, most: int) -> list[int]:
    """Return whole numbers from `least` to `most`, as near to the weights' proportions as they go, with this sum.

    Numbers beyond a bound are put onto it and the others divide the rest; fractions are settled by largest remainders,
    of equal ones the first's.
    """
    shares = _bounded(weights, total, least, most)
    counts = [min(int(share), most) for share in shares]
    order = sorted(range(len(shares)), key=lambda i: counts[i] - shares[i])  # the largest remainder first
    for index in [i for i in order if counts[i] < most][: total - sum(counts)]:
        counts[index] += 1
    return counts


def _bounded(weights: Sequence[float], total: int, least: int, most: int) -> list[float]:
    """Return shares of `total` within the bounds: c times the weights between them, for the c that gives this sum."""
    shares = [0.0] * len(weights)
    free = list(range(len(weights)))
    while free:
        left = total - sum(shares[i] for i in range(len(weights)) if i not in free)
        whole = sum(weights[i] for i in free)
        ideal = {i: left * weights[i] / whole if whole > 0 else left / len(free) for i in free}
        held = {i: min(max(share, least), most) for i, share in ideal.items()}
        surplus = sum(held.values()) - left
        # Only the side that outweighs the other is settled: its numbers stay beyond the bound whatever the rest gets.
        if surplus > 0:
            settled = [i for i in free if held[i] > ideal[i]]
        elif surplus < 0:
            settled = [i for i in free if held[i] < ideal[i]]
        else:
            settled = free
        for i in settled or free:
            shares[i] = held[i]
        free = [i for i in free if i not in settled] if settled else []
    return shares
