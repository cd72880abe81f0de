"""HiFi (Gui and Xiao, 2023, arXiv 2305.04573): tune the heads that are rich in information and well connected."""

import logging
import math
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from peftlab.backbones.loading import Backbone, drawn_output_layer
from peftlab.errors import UserError, prefix_errors, require
from peftlab.heads.allocation import Allocation, Way
from peftlab.heads.brief_tuning import BriefTuning, briefly_tuned
from peftlab.heads.gradients import gradient_scores
from peftlab.heads.layer_scores import LayerScore, measures_of
from peftlab.heads.options import (
    Orientation,
    Teleport,
    Variant,
    check_pagerank,
    check_score,
    check_selection,
    check_xi,
)
from peftlab.heads.ranking import SCORES
from peftlab.heads.scores import HeadScores
from peftlab.heads.scoring import score_heads
from peftlab.heads.selection import ChosenHeads, HeadSelection, select_heads
from peftlab.heads.units import Unit, unit_size
from peftlab.heads.weights import head_shift, projection_weights
from peftlab.strategies.attached import Attached
from peftlab.strategies.bases.tuned_heads import AttachedHeads, Part, check_biases, check_parts, parts_of
from peftlab.strategies.contract import SelectionContext, Strategy
from peftlab.streams import Stream
from peftlab.terminal import track

log = logging.getLogger(__name__)


@dataclass(frozen=True)
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
        score: what heads are ranked by: a row of Table 3, a rival's (`gradient`, `fisher`, `shift`, which read labels),
            or a class of the user's own (`heads/ranking.py`).
        unit: what is ranked and chosen: a `query` head, or the `group` of those that share a key and value head, by the
            mean of their values; k and the budget then count groups.
        allocation, budget, k_min, k_max, layer_score: how the tuned layers divide a budget (`heads/allocation.py`).
        rows: which weights of a chosen head are tuned: rows of `q`, `k` and `v`, columns of `o`, the output projection.
        bias: whether the biases of the chosen rows are tuned too.
        pool: `full`, score on the whole training set even with few shots, or `shots`, on the few alone.
        batch_size: examples in one forward pass of the scoring, on which the scores do not depend, and in each of
            `score_after_steps`, on which they do.
        score_after_steps: steps of full fine-tuning before the scores are taken (Sec. 5.1); heads are tuned from the
            untouched weights all the same.
        score_learning_rate: of those steps.
        selection_seed: draws the examples that are scored, the tuning before it, and random heads, whatever the run's
            seed: one choice of heads for a task. None: the run's seed does.
        selection: a `selection.json`, or a run's folder, to reuse instead of scoring.
    """

    name = "hifi"
    selection_type = HeadSelection

    k: int = 3
    xi: float = 0.9
    d: float = 0.85
    eps: float = 1e-5
    max_iter: int = 100
    n: int = 300
    orientation: Orientation = "column"
    teleport: Teleport = "richness"
    variant: Variant = "layer-wise"
    score: str = field(default="pagerank", metadata={"registry": SCORES})
    unit: Unit = "query"
    allocation: Way = "uniform"
    budget: int | None = None
    k_min: int = 0
    k_max: int | None = None
    layer_score: LayerScore = "richness"
    rows: list[Part] = field(default_factory=lambda: ["q", "k", "v"])
    bias: bool = False
    pool: Literal["full", "shots"] = "full"
    batch_size: int = 32
    score_after_steps: int = 0
    score_learning_rate: float = 2e-5
    selection_seed: int | None = None
    selection: str | None = field(default=None, metadata={"path": HeadSelection.fingerprint})

    def __post_init__(self) -> None:
        for name in ("k", "n", "batch_size"):
            require(getattr(self, name) >= 1, f"strategy.{name}={getattr(self, name)}: allowed is 1 or more")
        steps, rate = self.score_after_steps, self.score_learning_rate
        require(steps >= 0, f"strategy.score_after_steps={steps}: allowed is 0 or more")
        require(0 < rate < math.inf, f"strategy.score_learning_rate={rate}: allowed is above 0")
        with prefix_errors("strategy."):
            check_score(self.score)
            check_parts(self.rows)
            check_xi(self.xi)
            check_pagerank(**self._walk())
        require(
            bool(self.score_after_steps) or "shift" not in self.measures,
            f"strategy.score={self.score}: it compares weights before and after tuning; allowed with "
            "strategy.score_after_steps of 1 or more",
        )
        require(
            self.selection_seed is None or self.selection_seed >= 0,
            f"strategy.selection_seed={self.selection_seed}: allowed is 0 or more, or null",
        )
        require(
            self.selection_seed is None or self.pool == "full",
            "strategy.selection_seed: the shots are others with each seed; allowed with strategy.pool=full",
        )

    @property
    def measures(self) -> tuple[str, ...]:
        """What is measured beside HiFi's own scores, for the ranking or for the layers; all of it reads labels."""
        layers = measures_of(self.layer_score) if self._allocation.reads_scores else ()
        return tuple(dict.fromkeys((*SCORES.get(self.score).measures, *layers)))

    @property
    def _allocation(self) -> Allocation:
        return Allocation(self.allocation, self.budget, self.k_min, self.k_max, self.layer_score)

    @property
    def recipe(self) -> str:
        """Table 5 of the paper has a row for each variant."""
        return "hifi" if self.variant == "layer-wise" else f"hifi-{self.variant}"

    def check(self, backbone: Backbone) -> None:
        """Refuse more heads than a layer has, and biases where there are none."""
        view = backbone.view
        with prefix_errors("strategy."):
            check_selection(view.num_heads, **self._choice(0), unit=self.unit, group=view.group)
            tuned = view.num_layers - view.num_layers // 2 if self.variant == "mid-top" else view.num_layers
            self._allocation.check(tuned, view.num_heads // unit_size(self.unit, view.group), self.k)
            check_biases(self, backbone)

    def select(self, context: SelectionContext) -> HeadSelection:
        """Score and rank the heads, or read the selection that is to be reused."""
        self.check(context.backbone)
        if self.selection is not None:
            return self._read_selection(context.backbone)
        seed = context.seed if self.selection_seed is None else self.selection_seed
        scores = self._score(context, seed)
        units: dict[str, Any] = {"unit": self.unit, "group": context.backbone.view.group}
        chosen = select_heads(scores, **self._choice(seed), **self._walk(), **units, allocation=self._allocation)
        return replace(chosen, options={**chosen.options, "xi": self.xi, "pool": self.pool, **self._state()})

    def _choice(self, seed: int) -> dict[str, Any]:
        """Return the options of the choice among ranked heads."""
        return {"k": self.k, "score": self.score, "variant": self.variant, "seed": seed}

    def _walk(self) -> dict[str, Any]:
        """Return the options of PageRank."""
        return {name: getattr(self, name) for name in ("d", "eps", "max_iter", "orientation", "teleport")}

    def _score(self, context: SelectionContext, seed: int) -> HeadScores:
        """Return the scores of all heads, of the backbone in the state that the options ask for."""
        backbone, data, device = context.backbone, context.data, context.device
        examples = data.sample(self.n, seed, self.pool)
        self._tell_of_labels(context, seed)
        with ExitStack() as state:
            if self.selection_seed is not None and (self.measures or self.score_after_steps):
                state.enter_context(drawn_output_layer(backbone, seed))
            before = projection_weights(backbone.view) if "shift" in self.measures else []
            if self.score_after_steps:
                how = BriefTuning(self.score_after_steps, self.score_learning_rate, seed)
                order = data.sample(None, seed, self.pool, Stream.BRIEF_ORDER)
                endless = data.batches(order, self.batch_size, device, "endless")
                state.enter_context(briefly_tuned(backbone.model, data.loss_of(backbone), endless, how))
            batches = data.batches(examples, self.batch_size, device, "shortest")
            total = math.ceil(len(examples) / self.batch_size)
            scores = score_heads(backbone, track(batches, "scoring heads", total), self.xi)
            measured = {"shift": head_shift(backbone.view, before)} if before else {}
            if by_gradient := [name for name in self.measures if name != "shift"]:
                single = track(data.batches(examples, 1, device), "measuring gradients", len(examples))
                loss, parts = data.loss_of(backbone), parts_of(self.rows)
                measured |= gradient_scores(backbone.model, backbone.view, loss, single, by_gradient, parts)
        return replace(scores, measured=measured)

    def _tell_of_labels(self, context: SelectionContext, seed: int) -> None:
        """Warn where labels are read that the run itself is not trained on."""
        if self.measures and self.pool == "full":
            known, trained = (len(context.data.sample(None, seed, pool)) for pool in ("full", "shots"))
            if known > trained:
                log.warning(
                    "strategy.score=%s, layer_score=%s: labels of the full training set are read, the run trains on %d "
                    "examples; strategy.pool=shots reads those alone",
                    *(self.score, self.layer_score, trained),
                )

    def _state(self) -> dict[str, Any]:
        """Return what the selection says of the backbone's state when it was scored, and of labels that were read."""
        found: dict[str, Any] = {"score_after_steps": self.score_after_steps}
        if self.score_after_steps:
            found |= {"score_learning_rate": self.score_learning_rate, "batch_size": self.batch_size}
        if self.selection_seed is not None:
            found["selection_seed"] = self.selection_seed
        if self.measures:
            found["labels"] = self.pool
        return {**found, "rows": self.rows} if "fisher" in self.measures else found

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
        # What a file does not say was so before it could be said.
        said = {"unit": "query", "allocation": "uniform", "budget": None, **selection.options}
        names = ("k", "score", "variant", "unit", "allocation", "budget")
        differing = [name for name in names if said.get(name) != getattr(self, name)]
        if differing:
            chosen_with = ", ".join(f"{name}={said.get(name)}" for name in differing)
            log.warning("strategy.selection: its heads were chosen with %s, and are taken as they are", chosen_with)
        return selection

    def attach(self, backbone: Backbone, selection: HeadSelection | ChosenHeads | None = None) -> Attached:
        """Let parameters stand for the rows of the chosen heads."""
        return AttachedHeads(self, backbone, selection)
