"""What heads are ranked by: the six rows of the paper's Table 3, three of its rivals, and a user's own.

A score is a class with a `name`, found by itself, here or in a package of the user's (`plugins=[my_package]`):
`strategy.score=NAME` takes it.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from peftlab.errors import require
from peftlab.registry import Registry
from peftlab.streams import Stream, seed_of


@dataclass(frozen=True, eq=False)
class RankingContext:
    """What a score may look at, all float64 on the CPU.

    richness [L, H] (Eq. 3), correlation [L, H, H] (Eq. 7), pagerank [L, H] (Algorithm 2), and the run's seed; measured
    [L, H] each, by name: what the score asks for as its `measures`.
    """

    richness: Tensor
    correlation: Tensor
    pagerank: Tensor
    seed: int
    measured: Mapping[str, Tensor] = field(default_factory=dict)


class Score(ABC):
    """One way of ranking the heads of a layer.

    `measures` names what it looks at beside HiFi's own scores, of `heads.scores.MEASURES`; all of them read labels.
    """

    name: ClassVar[str]
    measures: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def rank(self, context: RankingContext) -> Tensor:
        """Return a value for each head, [L, H]; higher is better, and of equal ones the lower head is taken."""


class PageRankScore(Score):
    """HiFi itself."""

    name = "pagerank"

    def rank(self, context: RankingContext) -> Tensor:
        """Return where the walk ends."""
        return context.pagerank


class InversePageRank(Score):
    """HiFi's worst heads."""

    name = "pagerank-inverse"

    def rank(self, context: RankingContext) -> Tensor:
        """Return where the walk ends, turned round."""
        return -context.pagerank


class Richness(Score):
    """Table 3, without correlation."""

    name = "richness"

    def rank(self, context: RankingContext) -> Tensor:
        """Return the information richness."""
        return context.richness


class InverseRichness(Score):
    """Table 3, without correlation and inverse."""

    name = "richness-inverse"

    def rank(self, context: RankingContext) -> Tensor:
        """Return the information richness, turned round."""
        return -context.richness


class Correlation(Score):
    """Table 3, without information."""

    name = "correlation"

    def rank(self, context: RankingContext) -> Tensor:
        """Return the row sums of R."""
        return context.correlation.sum(-1)


class Random(Score):
    """Table 3, random heads."""

    name = "random"

    def rank(self, context: RankingContext) -> Tensor:
        """Return a draw by the seed alone."""
        generator = torch.Generator().manual_seed(seed_of(Stream.RANDOM_HEADS, context.seed))
        return torch.rand(context.richness.shape, generator=generator, dtype=torch.float64)


class Gradient(Score):
    """How much the loss would change if a head's output were scaled (Michel et al., 2019)."""

    name = "gradient"
    measures = ("gradient",)

    def rank(self, context: RankingContext) -> Tensor:
        """Return E_x |y_h . dL/dy_h|."""
        return context.measured["gradient"]


class Fisher(Score):
    """How much the loss would change if a head's weights were removed one by one (Molchanov et al., 2019)."""

    name = "fisher"
    measures = ("fisher",)

    def rank(self, context: RankingContext) -> Tensor:
        """Return E_x sum (w g)^2 over the weights of the head that are tuned."""
        return context.measured["fisher"]


class Shift(Score):
    """How far a head's weights move in a short tuning of the task (ALPS: Chen et al., 2025)."""

    name = "shift"
    measures = ("shift",)

    def rank(self, context: RankingContext) -> Tensor:
        """Return the distance of the softmaxed weights before and after."""
        return context.measured["shift"]


# The type checker takes no abstract class for a type; here it only says what others derive from.
SCORES: Registry[Score] = Registry(Score, "peftlab.heads.ranking", "strategy.score")  # type: ignore[type-abstract]


def rank_heads(score: str, context: RankingContext) -> Tensor:
    """Return the values [L, H] that the score of this name gives, float64 on the CPU.

    Raises:
        UserError: no such score, what it looks at was not measured, or it gives something else than a number for each
            head.
    """
    chosen = SCORES.get(score)
    missing = [name for name in chosen.measures if name not in context.measured]
    require(not missing, f"score={score}: {', '.join(missing)} was not measured; allowed is what these scores hold")
    ranking = chosen().rank(context).detach().to("cpu", torch.float64)
    shape, expected = list(ranking.shape), list(context.richness.shape)
    require(shape == expected, f"score={score}: ranked values of shape {shape}, expected {expected}, layers and heads")
    require(bool(ranking.isfinite().all()), f"score={score}: ranked values that are no finite numbers")
    return ranking
