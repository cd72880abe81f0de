"""HiFi (Gui and Xiao, 2023, arXiv 2305.04573): tune the heads that are rich in information and well connected."""

import logging
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from peftlab.backbones.backbone import Backbone
from peftlab.backbones.view import PROJECTIONS, Projection
from peftlab.errors import UserError, prefix_errors, require
from peftlab.heads.brief_tuning import BriefTuning, briefly_tuned
from peftlab.heads.options import (
    Orientation,
    Score,
    Teleport,
    Variant,
    check_pagerank,
    check_selection,
    check_xi,
)
from peftlab.heads.scoring import score_heads
from peftlab.heads.selection import HeadScores, HeadSelection, select_heads
from peftlab.layers.head_rows import HeadRowsLinear, rows_of_heads
from peftlab.strategies.contract import SelectionContext, Strategy

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChosenHeads:
    """The heads of each layer, as a stored delta remembers them."""

    heads: tuple[tuple[int, ...], ...]


@dataclass
class HiFi(Strategy):
    """Score all heads on data, rank them, and tune the rows of Q, K and V of the top k in each layer.

    Options (defaults and their sources in `conf/strategy/hifi.yaml`):
        k: heads tuned in each layer.
        xi: threshold of Eq. 2, in (0, 1].
        d: damping factor of Eq. 10, in [0, 1).
        eps, max_iter: where the iteration of Algorithm 2 stops.
        n: training examples drawn by seed for the scores.
        orientation: `column`, ordinary PageRank, or `row`, Eq. 10 as printed.
        teleport: `richness`, personalised by Eq. 8, or `uniform`, as printed.
        variant: `layer-wise` or `mid-top` (upper half of the layers).
        score: what heads are ranked by; the six rows of Table 3.
        bias: whether the biases of the chosen rows are tuned too.
        pool: `full`, score on the whole training set even with few shots, or `shots`, on the few alone.
        batch_size: examples in one forward pass of the scoring, on which the scores do not depend, and in each of
            `score_after_steps`, on which they do.
        score_after_steps: steps of full fine-tuning before the scores are taken (Sec. 5.1); heads are tuned from the
            untouched weights all the same.
        score_learning_rate: of those steps.
        selection: a `selection.json`, or a run's folder, to reuse instead of scoring.
    """

    name = "hifi"

    k: int = 3
    xi: float = 0.9
    d: float = 0.85
    eps: float = 1e-5
    max_iter: int = 100
    n: int = 300
    orientation: Orientation = "column"
    teleport: Teleport = "richness"
    variant: Variant = "layer-wise"
    score: Score = "pagerank"
    bias: bool = False
    pool: Literal["full", "shots"] = "full"
    batch_size: int = 32
    score_after_steps: int = 0
    score_learning_rate: float = 2e-5
    selection: str | None = field(default=None, metadata={"path": HeadSelection.fingerprint})

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("k", "n", "batch_size"):
            require(getattr(self, name) >= 1, f"strategy.{name}={getattr(self, name)}: allowed is 1 or more")
        steps, rate = self.score_after_steps, self.score_learning_rate
        require(steps >= 0, f"strategy.score_after_steps={steps}: allowed is 0 or more")
        require(0 < rate < math.inf, f"strategy.score_learning_rate={rate}: allowed is above 0")
        with prefix_errors("strategy."):
            check_xi(self.xi)
            check_pagerank(**self._walk())

    @property
    def recipe(self) -> str:
        """Table 5 of the paper has a row for each variant."""
        return "hifi" if self.variant == "layer-wise" else f"hifi-{self.variant}"

    def check(self, backbone: Backbone) -> None:
        """Refuse more heads than a layer has."""
        with prefix_errors("strategy."):
            check_selection(backbone.view.num_heads, **self._choice(seed=0))

    def select(self, preparation: SelectionContext) -> HeadSelection:
        """Score and rank the heads, or read the selection that is to be reused."""
        self.check(preparation.backbone)
        if self.selection is not None:
            return self._read_selection(preparation.backbone)
        selection = select_heads(self._score(preparation), **self._choice(preparation.seed), **self._walk())
        return replace(selection, options={**selection.options, "xi": self.xi, "pool": self.pool, **self._state()})

    def load_selection(self, folder: Path) -> HeadSelection:
        """Return the heads that were chosen before the run was interrupted."""
        return HeadSelection.load(folder)

    def tuned(self) -> dict[str, nn.Parameter]:
        """Return the tuned rows, named ``layers.<layer>.<projection>.<weight_rows or bias_rows>``."""
        return {
            f"layers.{layer}.{which}.{name}": parameter
            for (layer, which), module in self._modules.items()
            for name, parameter in module.named_parameters(recurse=False)
        }

    def delta_facts(self) -> dict[str, Any]:
        """Return the chosen heads of each layer: the positions of the stored rows."""
        return {"heads": [list(heads) for heads in self._heads]}

    def selection_from(self, facts: Mapping[str, Any]) -> ChosenHeads:
        """Return the heads that a stored delta names."""
        heads = facts.get("heads")
        valid = isinstance(heads, list) and all(
            isinstance(layer, list) and all(isinstance(head, int) for head in layer) for layer in heads
        )
        require(valid, f"delta: `heads` lists the chosen heads of each layer, found {heads!r}"[:200])
        return ChosenHeads(tuple(tuple(layer) for layer in heads or []))

    def _attach(self, backbone: Backbone, selection: HeadSelection | ChosenHeads) -> None:
        view = backbone.view
        _check_heads(selection.heads, backbone)
        self._heads = selection.heads
        self._modules: dict[tuple[int, Projection], HeadRowsLinear] = {}
        for layer, heads in enumerate(selection.heads):
            for which in PROJECTIONS if heads else ():
                frozen = view.projection(layer, which)
                assert isinstance(frozen, nn.Linear)
                module = HeadRowsLinear(frozen, rows_of_heads(heads, view.head_dim), self.bias)
                view.replace_projection(layer, which, module)
                self._modules[layer, which] = module

    def _detach(self, backbone: Backbone) -> None:
        for (layer, which), module in self._modules.items():
            backbone.view.replace_projection(layer, which, module.frozen)

    def _merge(self, backbone: Backbone) -> None:
        for (layer, which), module in self._modules.items():
            backbone.view.replace_projection(layer, which, module.merged())

    def _choice(self, seed: int) -> dict[str, Any]:
        """Return the options of the choice among ranked heads."""
        return {"k": self.k, "score": self.score, "variant": self.variant, "seed": seed}

    def _walk(self) -> dict[str, Any]:
        """Return the options of PageRank."""
        return {name: getattr(self, name) for name in ("d", "eps", "max_iter", "orientation", "teleport")}

    def _score(self, preparation: SelectionContext) -> HeadScores:
        """Return the scores of all heads, of the backbone in the state that the options ask for."""
        backbone, seed, device = preparation.backbone, preparation.seed, preparation.device
        examples = preparation.data.sample(self.n, seed, self.pool)
        state: AbstractContextManager[None] = nullcontext()
        if self.score_after_steps:
            how = BriefTuning(self.score_after_steps, self.score_learning_rate, self.batch_size, seed)
            state = briefly_tuned(backbone, preparation.data.sample(None, seed, self.pool), how, device)
        with state:
            return score_heads(backbone, examples, self.xi, self.batch_size, device)

    def _state(self) -> dict[str, Any]:
        """Return what the selection says of the state in which the backbone was scored."""
        steps = {"score_after_steps": self.score_after_steps}
        if not self.score_after_steps:
            return steps
        return {**steps, "score_learning_rate": self.score_learning_rate, "batch_size": self.batch_size}

    def _read_selection(self, backbone: Backbone) -> HeadSelection:
        assert self.selection is not None
        selection = HeadSelection.load(Path(self.selection).expanduser())
        found = tuple(selection.scores.richness.shape)
        own = (backbone.view.num_layers, backbone.view.num_heads)
        if found != own:
            raise UserError(
                f"strategy.selection={self.selection}: it is for {found[0]} layers of {found[1]} heads, "
                f"backbone {backbone.name} has {own[0]} of {own[1]}"
            )
        differing = [name for name in ("k", "score", "variant") if selection.options.get(name) != getattr(self, name)]
        if differing:
            chosen_with = ", ".join(f"{name}={selection.options.get(name)}" for name in differing)
            log.warning("strategy.selection: its heads were chosen with %s, and are taken as they are", chosen_with)
        return selection


def _check_heads(heads: tuple[tuple[int, ...], ...], backbone: Backbone) -> None:
    view = backbone.view
    require(
        len(heads) == view.num_layers,
        f"selection: {len(heads)} layers, backbone {backbone.name} has {view.num_layers}",
    )
    for layer, chosen in enumerate(heads):
        valid = len(set(chosen)) == len(chosen) and all(0 <= head < view.num_heads for head in chosen)
        require(
            valid,
            f"selection: heads {list(chosen)} of layer {layer}: allowed are 0 to {view.num_heads - 1}",
        )
