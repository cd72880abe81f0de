"""HiFi (Gui and Xiao, 2023, arXiv 2305.04573): tune the heads that are rich in information and well connected."""

import logging
import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from peftlab.backbones.loading import Backbone
from peftlab.errors import UserError, prefix_errors, require
from peftlab.heads.brief_tuning import BriefTuning, briefly_tuned
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
from peftlab.heads.scoring import score_heads
from peftlab.heads.selection import ChosenHeads, HeadScores, HeadSelection, select_heads
from peftlab.strategies.attached import Attached
from peftlab.strategies.bases.tuned_heads import AttachedHeads, Part, check_biases, check_parts
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
        score: what heads are ranked by: a row of Table 3, or a class of the user's own (`heads/ranking.py`).
        rows: which weights of a chosen head are tuned: rows of `q`, `k` and `v`, columns of `o`, the output projection.
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
    rows: list[Part] = field(default_factory=lambda: ["q", "k", "v"])
    bias: bool = False
    pool: Literal["full", "shots"] = "full"
    batch_size: int = 32
    score_after_steps: int = 0
    score_learning_rate: float = 2e-5
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

    @property
    def recipe(self) -> str:
        """Table 5 of the paper has a row for each variant."""
        return "hifi" if self.variant == "layer-wise" else f"hifi-{self.variant}"

    def check(self, backbone: Backbone) -> None:
        """Refuse more heads than a layer has, and biases where there are none."""
        with prefix_errors("strategy."):
            check_selection(backbone.view.num_heads, **self._choice(seed=0))
            check_biases(self, backbone)

    def select(self, context: SelectionContext) -> HeadSelection:
        """Score and rank the heads, or read the selection that is to be reused."""
        self.check(context.backbone)
        if self.selection is not None:
            return self._read_selection(context.backbone)
        selection = select_heads(self._score(context), **self._choice(context.seed), **self._walk())
        return replace(selection, options={**selection.options, "xi": self.xi, "pool": self.pool, **self._state()})

    def _choice(self, seed: int) -> dict[str, Any]:
        """Return the options of the choice among ranked heads."""
        return {"k": self.k, "score": self.score, "variant": self.variant, "seed": seed}

    def _walk(self) -> dict[str, Any]:
        """Return the options of PageRank."""
        return {name: getattr(self, name) for name in ("d", "eps", "max_iter", "orientation", "teleport")}

    def _score(self, context: SelectionContext) -> HeadScores:
        """Return the scores of all heads, of the backbone in the state that the options ask for."""
        backbone, data, seed, device = context.backbone, context.data, context.seed, context.device
        examples = data.sample(self.n, seed, self.pool)
        state: AbstractContextManager[None] = nullcontext()
        if self.score_after_steps:
            how = BriefTuning(self.score_after_steps, self.score_learning_rate, seed)
            order = data.sample(None, seed, self.pool, Stream.BRIEF_ORDER)
            endless = data.batches(order, self.batch_size, device, "endless")
            state = briefly_tuned(backbone.model, data.loss_of(backbone), endless, how)
        with state:
            batches = data.batches(examples, self.batch_size, device, "shortest")
            total = math.ceil(len(examples) / self.batch_size)
            return score_heads(backbone, track(batches, "scoring heads", total), self.xi)

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

    def attach(self, backbone: Backbone, selection: HeadSelection | ChosenHeads | None = None) -> Attached:
        """Let parameters stand for the rows of the chosen heads."""
        return AttachedHeads(self, backbone, selection)
