"""Tiny-attention adapters (Zhao et al., 2022, arXiv 2211.01979): each token sees the others through a tiny head."""

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from peftlab.backbones.backbone import Backbone
from peftlab.backbones.geometry import Place
from peftlab.errors import require
from peftlab.layers.tiny_attention import AfterAttention, Init, Pads, TinyAttention
from peftlab.strategies.bases.inserted import InsertedStrategy
from peftlab.strategies.contract import ParameterGroup

# Experts that begin alike get alike gradients; the authors break the tie with this much noise.
_NOISE = 1e-6


@dataclass
class TinyAttentionAdapter(InsertedStrategy):
    """Add tiny attention to what each layer's attention block returns, before the feed-forward.

    Options (defaults and their sources in `conf/strategy/tiny-attention.yaml`):
        size: dimensions of query, key and value, all heads together.
        heads: divides `size`.
        dropout: on the attention weights.
        experts: modules a layer, one after the other, each adding its share: heads as a mixture of experts.
        average: evaluate one expert with the average of their weights instead of all.
        init: how a module starts; see `TinyAttention`.
        backbone_dropout: whether the frozen backbone's dropout is on while tuning.
    """

    name = "tiny-attention"

    size: int = 1
    heads: int = 1
    dropout: float = 0.1
    experts: int = 1
    average: bool = True
    init: Init = "published"
    backbone_dropout: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("size", "heads", "experts"):
            require(getattr(self, name) >= 1, f"strategy.{name}={getattr(self, name)}: allowed is 1 or more")
        require(0 <= self.dropout < 1, f"strategy.dropout={self.dropout}: allowed is 0 or more, less than 1")
        divides = self.size % self.heads == 0
        require(divides, f"strategy.heads={self.heads}: allowed are divisors of strategy.size={self.size}")

    @property
    def start_tolerance(self) -> float:
        """The modules start near nothing, not at it: over 25 seeds on tiny models logits moved by 5e-4 and 0.019."""
        return {"published": 1e-3, "constructor": 0.05}[self.init]

    def build(self, backbone: Backbone) -> dict[tuple[int, Place], nn.Module]:
        """Return what stands for each layer's LayerNorm after attention."""
        geometry = backbone.geometry
        place: Place = "attention_norm"
        self._pads = Pads()
        average = self.average and self.experts > 1
        return {
            (layer, place): AfterAttention(geometry.at(layer, place), self._experts(backbone), self._pads, average)
            for layer in range(geometry.num_layers)
        }

    def train_mode(self) -> None:
        """Train the tiny modules and the classifier; the backbone stays as it is in evaluation unless asked."""
        super().train_mode()
        if not self.backbone_dropout:
            self.backbone.model.base_model.eval()
            for module in self._modules.values():
                assert isinstance(module, AfterAttention)
                module.experts.train()

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the tiny modules' parameters, all of which decay as in the authors' code, and the classifier's."""
        tiny = set(map(id, self.tuned().values()))
        others = [
            replace(group, parameters={name: p for name, p in group.parameters.items() if id(p) not in tiny})
            for group in super().parameter_groups()
        ]
        return [ParameterGroup(self.tuned()), *(group for group in others if group.parameters)]

    def _experts(self, backbone: Backbone) -> list[TinyAttention]:
        first = TinyAttention(backbone.geometry.hidden_size, self.size, self.heads, self.dropout, self.init)
        experts = [first, *(copy.deepcopy(first) for _ in range(self.experts - 1))]
        for expert in experts[1:]:
            with torch.no_grad():
                expert.down.weight.add_(torch.randn_like(expert.down.weight), alpha=_NOISE)
        return experts

    def _attach(self, backbone: Backbone, selection: Any) -> None:
        super()._attach(backbone, selection)
        self._hook = backbone.model.base_model.register_forward_pre_hook(self._pads, with_kwargs=True)

    def _detach(self, backbone: Backbone) -> None:
        self._hook.remove()
        super()._detach(backbone)
