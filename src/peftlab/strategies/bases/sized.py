"""Strategies with a size that can follow the backbone: in the original's proportion, or by a number of weights."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, get_args, get_type_hints

import torch

from peftlab.backbones.loading import Backbone
from peftlab.backbones.weightless import weightless
from peftlab.errors import require
from peftlab.strategies.contract import Strategy

Size = int | Literal["auto"]


@dataclass(frozen=True)
class SizedStrategy(Strategy):
    """A strategy with sizes; a derived class names them.

    Options:
        parameters: the most weights to tune, the classifier's not among them; `sized_by` is then the largest size that
            tunes no more, whatever it is given as. null: as given.
    """

    sized_by: ClassVar[str]  # the option that `parameters` decides
    # By option that takes `auto`: the original's size, and the hidden size of the backbone that it was made for.
    originals: ClassVar[Mapping[str, tuple[int, int]]] = {}

    parameters: int | None = None

    def __post_init__(self) -> None:
        kinds = get_type_hints(type(self))
        for name in ("parameters", self.sized_by, *self.originals):
            value, kind = getattr(self, name), get_args(kinds[name])
            words = [word for word, other in (("null", type(None)), ("auto", Literal["auto"])) if other in kind]
            allowed = ", or ".join(["1 or more", *words])
            require(value in ("auto", None) or value >= 1, f"strategy.{name}={value}: allowed is {allowed}")

    @property
    def step(self) -> int:
        """What `sized_by` is a multiple of."""
        return 1

    def fitted(self, backbone: Backbone) -> Self:
        """Return the strategy with numbers for the sizes that follow from the backbone.

        Raises:
            UserError: `parameters` is below what the smallest size tunes, or above what the backbone has.
        """
        asked = [name for name in self.originals if getattr(self, name) == "auto"]
        numbers: dict[str, Any] = {name: self._in_proportion(name, backbone.view.hidden_size) for name in asked}
        fixed = replace(self, parameters=None, **numbers)
        return fixed if self.parameters is None else fixed._within(self.parameters, backbone)

    def _in_proportion(self, name: str, width: int) -> int:
        size, original = self.originals[name]
        step = self.step if name == self.sized_by else 1
        return step * max(1, round(width * size / (original * step)))

    def _of(self, steps: int) -> Self:
        numbers: dict[str, Any] = {self.sized_by: steps * self.step}
        return replace(self, **numbers)

    def _within(self, most: int, backbone: Backbone) -> Self:
        shape = weightless(backbone)

        def count(steps: int) -> int:
            attached = self._of(steps).attach(shape)
            tuned = attached.num_tuned()
            attached.detach()
            return tuned

        with torch.device("meta"):
            least = count(1)
            require(
                least <= most <= backbone.size,
                f"strategy.parameters={most}: allowed are {least}, what {self.name} tunes with {self.sized_by}="
                f"{self.step}, to {backbone.size}, all of {backbone.name}",
            )
            # Each step adds as many weights as the first one, or more.
            highest = 1 + (most - least) // (count(2) - least)
            return self._of(bisect_right(range(1, highest + 1), most, key=count))


def number(size: Size) -> int:
    """Return a size of a strategy that is fitted to a backbone, as all are that are attached."""
    assert size != "auto"
    return size
