"""Tiny-attention adapters (Zhao et al., 2022, arXiv 2211.01979): each token sees the others through a tiny head."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from peftlab.backbones.loading import Backbone
from peftlab.backbones.view import Site
from peftlab.delta.delta import check_backbone, delta_fingerprint, load_delta
from peftlab.errors import prefix_errors, require
from peftlab.layers.stillness import without_dropout
from peftlab.layers.tiny_attention import AfterAttention, Init, Pads, TinyAttention, alike, site_of
from peftlab.strategies.attached import Attached, ParameterGroup
from peftlab.strategies.bases.inserted import AttachedModules, InsertedStrategy, Modules
from peftlab.strategies.bases.sized import SizedStrategy
from peftlab.strategies.traits import Traits


@dataclass(frozen=True)
class TinyAttentionAdapter(SizedStrategy, InsertedStrategy):
    """Add tiny attention to what each layer's attention block returns, before the feed-forward.

    Options (defaults and their sources in `conf/strategy/tiny-attention.yaml`):
        size: dimensions of query, key and value, all heads together.
        heads: divides `size`.
        dropout: on the attention weights.
        experts: modules a layer, one after the other, each adding its share: heads as a mixture of experts.
        average: evaluate and store one expert with the average of their weights instead of all.
        init: how a module starts; see `TinyAttention`.
        start: a run's folder; its modules and its classifier are where this run begins.
        backbone_dropout: whether the frozen backbone's dropout is on while tuning.
    """

    name = "tiny-attention"
    sized_by = "size"

    size: int = 1
    heads: int = 1
    dropout: float = 0.1
    experts: int = 1
    average: bool = True
    init: Init = "published"
    start: str | None = field(default=None, metadata={"path": delta_fingerprint})
    backbone_dropout: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("heads", "experts"):
            require(getattr(self, name) >= 1, f"strategy.{name}={getattr(self, name)}: allowed is 1 or more")
        require(0 <= self.dropout < 1, f"strategy.dropout={self.dropout}: allowed is 0 or more, less than 1")
        divides = self.size % self.heads == 0
        require(divides, f"strategy.heads={self.heads}: allowed are divisors of strategy.size={self.size}")

    @property
    def step(self) -> int:
        """Sizes are multiples of the heads."""
        return self.heads

    @property
    def traits(self) -> Traits:
        """The modules start near nothing, not at it: over 25 seeds on tiny models logits moved by 5e-4 and 0.019.

        Where they start from a run, no bound is known.
        """
        tolerance = math.inf if self.start else {"published": 1e-3, "constructor": 0.05}[self.init]
        return replace(super().traits, start_tolerance=tolerance)

    def check(self, backbone: Backbone) -> None:
        """Refuse a run to start from that does not fit."""
        self.read_start(backbone)

    def build(self, backbone: Backbone) -> Modules:
        """Return what stands for each layer's LayerNorm after attention; all share one note of where pads are."""
        view = backbone.view
        site = site_of(view)
        pads, start = Pads(), self.read_start(backbone)
        return {
            (layer, site): AfterAttention(
                view.at(layer, site),
                self._experts(backbone, _inside(start, f"layers.{layer}.{site}.experts.0.")),
                pads,
                self.average,
            )
            for layer in range(view.num_layers)
        }

    def _experts(self, backbone: Backbone, start: Mapping[str, Tensor]) -> list[TinyAttention]:
        view = backbone.view
        first = TinyAttention(view.hidden_size, self.size, self.heads, self.dropout, self.init, view.causal)
        if start:
            first.load_state_dict(start)
        return alike(first, self.experts)

    def read_start(self, backbone: Backbone) -> Mapping[str, Tensor]:
        """Return the tensors of the run to start from by the names of its delta; without one, none."""
        if self.start is None:
            return {}
        with prefix_errors(f"strategy.start={self.start}: "):
            delta = load_delta(Path(self.start).expanduser())
            facts, tensors = delta.facts, delta.tensors
            require(facts.strategy == self.name, f"it is of strategy {facts.strategy}; allowed is {self.name}")
            check_backbone(facts, backbone.name, backbone.fingerprint)
            for option in ("size", "heads"):
                found, own = facts.options.get(option), getattr(self, option)
                require(found == own, f"its {option} is {found}; strategy.{option}={own} allows the same alone")
            several = any(".experts.1." in name for name in tensors)
            require(not several, "it has several experts a layer; allowed are one, or a mixture with average=true")
            sizes = {name: p.shape for name, p in backbone.view.classifier_parameters()}
            fits = all(name in tensors and tensors[name].shape == size for name, size in sizes.items())
            require(fits, f"its classifier is for {len(facts.labels) or 'no'} labels, this task's is another")
        return tensors

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        """Put the modules in."""
        return AttachedTiny(self, backbone, selection)


class AttachedTiny(AttachedModules):
    """Tiny attention in every layer of a frozen backbone."""

    strategy: TinyAttentionAdapter

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return the tiny modules' parameters, all of which decay as in the authors' code, and the classifier's."""
        tiny = set(map(id, self.tuned().values()))
        others = [
            replace(group, parameters={name: p for name, p in group.parameters.items() if id(p) not in tiny})
            for group in super().parameter_groups()
        ]
        return [ParameterGroup(self.tuned()), *(group for group in others if group.parameters)]

    def load_delta(self, tensors: Mapping[str, Tensor]) -> None:
        """Take a delta back; of a mixture that was averaged only the average is there."""
        for module in self._tiny().values():
            module.keep_average()
        super().load_delta(tensors)

    def _stored(self) -> Mapping[str, Tensor]:
        """Return what evaluation needs, of a mixture that is averaged one module a layer, and the classifier."""
        parts = {f"layers.{layer}.{site}.": module for (layer, site), module in self._tiny().items()}
        deployed = {prefix + name: value for prefix, part in parts.items() for name, value in part.deployed().items()}
        return {**deployed, **self.classifier()}

    def _tiny(self) -> dict[tuple[int, Site], AfterAttention]:
        """Return the modules by layer and site."""
        return {key: module for key, module in self._modules.items() if isinstance(module, AfterAttention)}

    def _insert(self, selection: Any) -> None:
        self._undo: list[Callable[[], None]] = []
        if not self.strategy.backbone_dropout:
            self._undo.append(without_dropout(self.backbone.view.base))
        super()._insert(selection)
        pads = next(iter(self._tiny().values())).pads
        self._undo.append(self.backbone.view.base.register_forward_pre_hook(pads, with_kwargs=True).remove)
        start = self.strategy.read_start(self.backbone)
        with torch.no_grad():
            for name, parameter in self.classifier().items() if start else ():
                parameter.copy_(start[name])

    def _remove(self) -> None:
        for undo in self._undo:
            undo()
        super()._remove()


def _inside(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
