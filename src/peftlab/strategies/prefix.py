"""Prefix-tuning (Li and Liang, 2021, arXiv 2101.00190): learned keys and values before every layer's own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import BackboneView
from peftlab.errors import require
from peftlab.layers.prefix import FlatPrefix, PrefixAttention, ReparameterizedPrefix, Trunk
from peftlab.strategies.attached import Attached
from peftlab.strategies.bases.inserted import AttachedModules, InsertedStrategy, Modules
from peftlab.strategies.bases.sized import Size, SizedStrategy, number
from peftlab.strategies.traits import Traits
from peftlab.tasks.kind import TaskKind


@dataclass(frozen=True)
class Prefix(SizedStrategy, InsertedStrategy):
    """Tune keys and values that every token attends to in every layer.

    Options (defaults and their sources in `conf/strategy/prefix.yaml`):
        length: tokens of the prefix.
        mlp: size of the MLP that makes the prefix while training and is not stored; null: keys and values themselves.
        dropout: on the prefix, while training.
        shift: whether the text's positions begin after the prefix, as in P-tuning v2.
    """

    name = "prefix"
    sized_by = "length"
    originals: ClassVar[Mapping[str, tuple[int, int]]] = {"mlp": (512, 1024)}

    length: int = 30
    mlp: Size | None = 512
    dropout: float = 0.0
    shift: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.length >= 1, f"strategy.length={self.length}: allowed is 1 or more")
        require(0 <= self.dropout < 1, f"strategy.dropout={self.dropout}: allowed is from 0 to below 1")

    @property
    def traits(self) -> Traits:
        """No prefix is neutral, even zero keys take attention: 0.03 on tiny models, and 1 where positions shift.

        A shifted text has the prefix's positions before it.
        """
        if not self.shift:
            return replace(super().traits, start_tolerance=0.1)
        return replace(super().traits, start_tolerance=2.0, prompt_positions=self.length)

    def skip(self, view: BackboneView, kind: TaskKind) -> str | None:
        """Name an architecture whose self-attention takes no earlier keys and values."""
        return None if view.has("self_attention") else "the self-attention of its layers takes no keys and values"

    def build(self, backbone: Backbone) -> Modules:
        """Return each layer's self-attention with a prefix."""
        view = backbone.view
        width = view.num_key_heads * view.head_dim
        trunk = Trunk(self.length, view.hidden_size, number(self.mlp)) if self.mlp else None

        def prefix() -> nn.Module:
            if trunk is not None:
                return ReparameterizedPrefix(trunk, width)
            return FlatPrefix(torch.randn(self.length, 2 * width))

        return {
            (layer, "self_attention"): PrefixAttention(
                view.at(layer, "self_attention"), prefix(), view.num_key_heads, self.dropout
            )
            for layer in range(view.num_layers)
        }

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        """Put the prefixes in."""
        return AttachedPrefix(self, backbone, selection)


class AttachedPrefix(AttachedModules):
    """Prefixes before the keys and values of every layer, and what else is put in beside them."""

    strategy: Prefix

    def load_delta(self, tensors: Mapping[str, Tensor]) -> None:
        """Take stored keys and values back; the MLP that made them is gone."""
        for attention in self._attentions.values():
            attention.prefix = FlatPrefix(attention.prefix().detach())
        super().load_delta(tensors)

    def _stored(self) -> Mapping[str, Tensor]:
        """Return keys and values of every layer, what is tuned beside them, and the classifier."""
        prefixes = {f"layers.{layer}.prefix": made.prefix() for layer, made in self._attentions.items()}
        makers = {id(p) for made in self._attentions.values() for p in made.prefix.parameters()}
        others = {name: p for name, p in self.tuned().items() if id(p) not in makers}
        return {**prefixes, **others, **self.classifier()}

    @property
    def _attentions(self) -> dict[int, PrefixAttention]:
        return {layer: module for (layer, _), module in self._modules.items() if isinstance(module, PrefixAttention)}

    def _insert(self, selection: Any) -> None:
        self._undo: list[Callable[[], None]] = []
        super()._insert(selection)
        self._undo.extend(attention.join() for attention in self._attentions.values())
        if self.strategy.shift:
            self._undo.append(self.backbone.view.shift_positions(self.strategy.length))

    def _remove(self) -> None:
        super()._remove()
        for undo in self._undo:
            undo()
