"""Prefix-tuning (Li and Liang, 2021, arXiv 2101.00190): learned keys and values before every layer's own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import Site
from peftlab.errors import require
from peftlab.layers.prefix import FlatPrefix, PrefixAttention, ReparameterizedPrefix, Trunk
from peftlab.strategies.bases.inserted import InsertedStrategy


@dataclass
class Prefix(InsertedStrategy):
    """Tune keys and values that every token attends to in every layer.

    Options (defaults and their sources in `conf/strategy/prefix.yaml`):
        length: tokens of the prefix.
        mlp: size of the MLP that makes the prefix while training and is not stored; null: keys and values themselves.
        dropout: on the prefix, while training.
        shift: whether the text's positions begin after the prefix, as in P-tuning v2.
    """

    name = "prefix"

    length: int = 30
    mlp: int | None = 512
    dropout: float = 0.0
    shift: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.length >= 1, f"strategy.length={self.length}: allowed is 1 or more")
        require(self.mlp is None or self.mlp >= 1, f"strategy.mlp={self.mlp}: allowed is 1 or more, or null")
        require(0 <= self.dropout < 1, f"strategy.dropout={self.dropout}: allowed is from 0 to below 1")

    @property
    def start_tolerance(self) -> float:
        """No prefix is neutral, even zero keys take attention: 0.03 on tiny models, and 1 where positions shift."""
        return 2.0 if self.shift else 0.1

    @property
    def prompt_positions(self) -> int:
        """A shifted text has the prefix's positions before it."""
        return self.length if self.shift else 0

    def check(self, backbone: Backbone) -> None:
        """Refuse an architecture whose self-attention takes no earlier keys and values."""
        fits = backbone.view.has("self_attention")
        require(fits, f"strategy={self.name}: the self-attention of backbone {backbone.name} takes no keys and values")

    def build(self, backbone: Backbone) -> dict[tuple[int, Site], nn.Module]:
        """Return each layer's self-attention with a prefix."""
        view = backbone.view
        trunk = Trunk(self.length, view.hidden_size, self.mlp) if self.mlp else None

        def prefix() -> nn.Module:
            if trunk is not None:
                return ReparameterizedPrefix(trunk, view.hidden_size)
            return FlatPrefix(torch.randn(self.length, 2 * view.hidden_size))

        return {
            (layer, "self_attention"): PrefixAttention(
                view.at(layer, "self_attention"), prefix(), view.num_heads, self.dropout
            )
            for layer in range(view.num_layers)
        }

    def load_delta(self, tensors: Mapping[str, Tensor]) -> None:
        """Take stored keys and values back; the MLP that made them is gone."""
        for attention in self._attentions.values():
            attention.prefix = FlatPrefix(attention.prefix().detach())
        super().load_delta(tensors)

    def stored_bytes(self) -> int:
        """Keys and values of every layer, what is tuned beside them, and the classifier."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self._stored().values())

    def _stored(self) -> Mapping[str, Tensor]:
        prefixes = {f"layers.{layer}.prefix": made.prefix() for layer, made in self._attentions.items()}
        makers = {id(p) for made in self._attentions.values() for p in made.prefix.parameters()}
        others = {name: p for name, p in self.tuned().items() if id(p) not in makers}
        return {**prefixes, **others, **self.classifier()}

    @property
    def _attentions(self) -> dict[int, PrefixAttention]:
        return {layer: module for (layer, _), module in self._modules.items() if isinstance(module, PrefixAttention)}

    def _attach(self, backbone: Backbone, selection: Any) -> None:
        super()._attach(backbone, selection)
        self._undo = backbone.view.shift_positions(self.prompt_positions) if self.shift else None

    def _detach(self, backbone: Backbone) -> None:
        super()._detach(backbone)
        if self._undo is not None:
            self._undo()
