"""Diff-Pruning (Guo et al., 2021, arXiv 2012.07463): a sparse difference to the pretrained weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from peftlab.backbones.loading import Backbone
from peftlab.errors import require
from peftlab.layers.difference import GatedDifference, SparseDifference
from peftlab.layers.hard_concrete import HardConcrete
from peftlab.masks.largest import above_all_but
from peftlab.masks.positions import pack_positions, positions_bytes, unpack_positions
from peftlab.strategies.attached import Attached, ParameterGroup, Phases
from peftlab.strategies.contract import Strategy
from peftlab.strategies.traits import Traits
from peftlab.streams import Stream, seed_of

_POSITIONS, _VALUES = "positions", "values"


@dataclass(frozen=True)
class DiffPruning(Strategy):
    """Learn a dense difference under gates that close, keep its largest entries, and tune those on.

    Between the two phases of training all but the largest entries of the gated difference are pruned. What is kept goes
    on from its value without gates. The classifier is dense throughout.

    Options (defaults and their sources in `conf/strategy/diff-pruning.yaml`):
        target: share of all parameters, the classifier's among them, that may differ.
        structured: gates for whole tensors too, beside those of each weight.
        l0_form: an open weight counts by the `product` of both probabilities, or by their `sum`.
        l0: factor on the expected number of open gates.
        alpha: what the gates' parameters begin with.
        alpha_rate: their learning rate, constant.
        lower, upper: the interval that gates are stretched to before they are cut to [0, 1].
        share: of the run's steps for the first phase.
        finetune_rate: learning rate of the second phase; null: the run's.
    """

    name = "diff-pruning"

    target: float = 0.005
    structured: bool = True
    l0_form: Literal["product", "sum"] = "product"
    l0: float = 1.25e-7
    alpha: float = 5.0
    alpha_rate: float = 0.1
    lower: float = -1.5
    upper: float = 1.5
    share: float = 0.5
    finetune_rate: float | None = 5e-5

    def __post_init__(self) -> None:
        require(0 < self.target < 1, f"strategy.target={self.target}: allowed is between 0 and 1")
        require(0 <= self.l0 < math.inf, f"strategy.l0={self.l0}: allowed is 0 or more")
        require(math.isfinite(self.alpha), f"strategy.alpha={self.alpha}: allowed are numbers")
        require(0 < self.alpha_rate < math.inf, f"strategy.alpha_rate={self.alpha_rate}: allowed is above 0")
        require(0 < self.share < 1, f"strategy.share={self.share}: allowed is between 0 and 1")
        positive = self.finetune_rate is None or 0 < self.finetune_rate < math.inf
        require(positive, f"strategy.finetune_rate={self.finetune_rate}: allowed is above 0, or null for the run's")
        _ = self.gates  # checks the interval

    @property
    def gates(self) -> HardConcrete:
        """The distribution that gates are drawn from."""
        return HardConcrete(self.lower, self.upper)

    @property
    def traits(self) -> Traits:
        """Torch 2.13 fails to compile parametrizations that are modules; pruning reads the pretrained weights."""
        return Traits(compilable=False, shardable=False)

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        """Put a gated difference on every parameter."""
        return AttachedDifference(self, backbone, selection)


class AttachedDifference(Attached):
    """Differences to the pretrained weights: gated ones, or, once pruned, sparse ones."""

    strategy: DiffPruning

    def tuned(self) -> dict[str, nn.Parameter]:
        """Return differences and gates, or, once pruned, the values of the sparse difference."""
        parts = self._differences.items()
        return {f"{name}.{part}": p for name, module in parts for part, p in module.named_parameters()}

    def num_tuned(self) -> int:
        """Return how many weights differ in the end: until they are chosen, the most there may be."""
        return sum(module.values.numel() for module in self._sparse().values()) if self._pruned else self._budget

    def parameter_groups(self) -> list[ParameterGroup]:
        """Return weights and gates, whose gradients are clipped apart; nothing decays towards 0."""
        options: dict[str, Any] = {"weight_decay": 0.0, "schedule": "decay"}
        if self._pruned:
            return [
                ParameterGroup({**self.tuned(), **self.classifier()}, own_rate=self.strategy.finetune_rate, **options)
            ]
        gates = {name: p for name, p in self.tuned().items() if name.endswith("alpha")}
        weights = {name: p for name, p in self.tuned().items() if name not in gates}
        constant: dict[str, Any] = {
            "own_rate": self.strategy.alpha_rate,
            "schedule": "constant",
            "clip_separately": True,
        }
        return [
            ParameterGroup({**weights, **self.classifier()}, **options),
            ParameterGroup(gates, weight_decay=0.0, **constant),
        ]

    def phases(self, steps: int) -> Phases:
        """Return the steps under gates, at least one, and those with a fixed mask."""
        first = max(1, round(self.strategy.share * steps))
        return Phases([first, steps - first], self._prune)

    def _prune(self, phase: int) -> None:
        """Go on with the largest entries of the difference, without gates."""
        kept = self._largest()
        values = {name: module.difference.detach().flatten()[kept[name]] for name, module in self._gated().items()}
        self._keep(kept, values)

    def state(self) -> dict[str, Any]:
        """Return the positions of what is kept, once pruned."""
        kept = {name: module.positions for name, module in self._sparse().items()}
        return {"positions": kept} if self._pruned else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Prune to the positions that were kept; their values are parameters and come afterwards."""
        if state:
            nothing = torch.zeros(0, dtype=torch.int64)
            kept = {name: state["positions"].get(name, nothing) for name in self._differences}
            self._keep(kept, {name: torch.zeros(len(positions)) for name, positions in kept.items()})

    def logged_metrics(self) -> dict[str, float]:
        """Return the share of the backbone's weights that is open, by expectation, or kept."""
        gated = self._gated().values()
        with torch.no_grad():
            found = sum((module.expected_open(product=True) for module in gated), torch.tensor(0.0))
        return {"density": (self.num_tuned() if self._pruned else float(found)) / self._entries}

    def penalty(self) -> Tensor | None:
        """Return l0 times the expected number of open gates, while there are gates."""
        counts = [module.expected_open(self.strategy.l0_form == "product") for module in self._gated().values()]
        return self.strategy.l0 * torch.stack(counts).sum() if counts else None

    def stored_bytes(self) -> int:
        """Return the bytes of the kept positions and values and of the classifier."""
        kept = sum(module.values.numel() for module in self._sparse().values())
        classifier = sum(p.numel() * p.element_size() for p in self.classifier().values())
        return classifier + 4 * kept + positions_bytes(kept, self._entries)

    def delta(self) -> dict[str, Tensor]:
        """Return what is kept of the difference, nothing before it is pruned, and the classifier."""
        sparse = self._sparse()
        positions = [self._offsets[name] + module.positions for name, module in sparse.items()]
        values = [module.values.detach() for module in sparse.values()]
        return {
            _POSITIONS: pack_positions(torch.cat(positions or [torch.zeros(0, dtype=torch.int64)]), self._entries),
            _VALUES: torch.cat(values or [torch.zeros(0)]).cpu(),
            **super().delta(),
        }

    def load_delta(self, tensors: Mapping[str, Tensor]) -> None:
        """Take a delta back; raises UserError when names, shapes or positions do not fit."""
        rest = dict(tensors)
        require(rest.keys() >= {_POSITIONS, _VALUES}, f"delta: it lacks {_POSITIONS} or {_VALUES}")
        packed, values = rest.pop(_POSITIONS), rest.pop(_VALUES)
        row = values.ndim == 1 and values.is_floating_point()
        require(row, f"delta: tensor {_VALUES} is {list(values.shape)} {values.dtype}, expected a row of floats")
        positions = unpack_positions(packed, len(values), self._entries)
        super().load_delta(rest)
        bounds = torch.tensor([*self._offsets.values(), self._entries])
        sizes = torch.searchsorted(positions, bounds).diff().tolist()
        parts = zip(self._offsets.items(), positions.split(sizes), values.split(sizes), strict=True)
        found = {name: (part - offset, value) for (name, offset), part, value in parts}
        self._keep({name: at for name, (at, _) in found.items()}, {name: value for name, (_, value) in found.items()})

    def _insert(self, selection: Any) -> None:
        self._differences: dict[str, GatedDifference | SparseDifference] = {}
        self._classifier_start = {name: p.detach().clone() for name, p in self.classifier().items()}
        chosen = self.backbone.view.tunable_parameters()
        ends = list(accumulate((p.numel() for p in chosen.values()), initial=0))
        self._entries, self._offsets = ends[-1], dict(zip(chosen, ends, strict=False))
        everything = self._entries + sum(p.numel() for p in self._classifier_start.values())
        self._budget = math.floor(self.strategy.target * everything)
        # The run's seed, alike on all ranks.
        self._seed, self._pruned = seed_of(Stream.GATES, torch.initial_seed()), False
        options = self.strategy
        for name, parameter in chosen.items():
            gated = GatedDifference(parameter.detach(), options.alpha, options.gates, options.structured)
            self._put(name, gated)

    def _remove(self) -> None:
        for name in list(self._differences):
            self._take(name, merged=False)

    def _merge(self) -> None:
        for name in list(self._differences):
            self._take(name, merged=True)

    def _stored(self) -> Mapping[str, Tensor]:
        return self.classifier()

    def _gated(self) -> dict[str, GatedDifference]:
        return {name: module for name, module in self._differences.items() if isinstance(module, GatedDifference)}

    def _sparse(self) -> dict[str, SparseDifference]:
        return {name: module for name, module in self._differences.items() if isinstance(module, SparseDifference)}

    def _largest(self) -> dict[str, Tensor]:
        """Return by name the positions of the largest changes, at most the budget, the classifier's among them.

        As in the authors' code the changes are those under one draw of the gates, and the classifier's compete too,
        though all of them stay.
        """
        gated, classifier = self._gated(), self.classifier()
        generator = torch.Generator(next(iter(classifier.values())).device).manual_seed(self._seed)
        changes = {name: module.sampled(self._pretrained(name), generator).abs() for name, module in gated.items()}
        dense = [(p.detach() - self._classifier_start[name]).abs() for name, p in classifier.items()]
        threshold = above_all_but([*changes.values(), *dense], self._budget)
        return {name: (change.flatten() > threshold).nonzero().flatten() for name, change in changes.items()}

    def _keep(self, positions: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
        """Put sparse differences in the place of what is there; tensors without any are left as pretrained."""
        for name in list(self._differences):
            device = self._take(name, merged=False).device
            if len(positions[name]):
                self._put(name, SparseDifference(positions[name].to(device), values[name].to(device)))
        self._pruned = True

    def _put(self, name: str, difference: GatedDifference | SparseDifference) -> None:
        parametrize.register_parametrization(*self._owner(name), difference)
        self._differences[name] = difference

    def _take(self, name: str, merged: bool) -> Tensor:
        """Take a difference out, its sum with the pretrained weights written or not; return the weights."""
        del self._differences[name]
        module, leaf = self._owner(name)
        parametrize.remove_parametrizations(module, leaf, leave_parametrized=merged)
        return module.get_parameter(leaf)

    def _pretrained(self, name: str) -> Tensor:
        module, leaf = self._owner(name)
        return module.get_parameter(f"parametrizations.{leaf}.original").detach()

    def _owner(self, name: str) -> tuple[nn.Module, str]:
        """Return the module that holds a parameter of the backbone, and the parameter's name in it."""
        owner, _, leaf = name.rpartition(".")
        return self.model.get_submodule(owner), leaf
