"""What heads are ranked by: the six rows of the paper's Table 3, and a user's own.

A score is a class with a `name`, found by itself, here or in a package of the user's (`plugins=[my_package]`):
`strategy.score=NAME` takes it.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from peftlab.errors import require
from peftlab.registry import Registry
from peftlab.streams import Stream, seed_of


@dataclass(frozen=True, eq=False)
class RankingContext:
    """What a score may look at, all float64 on the CPU.

    richness [L, H] (Eq. 3), correlation [L, H, H] (Eq. 7), pagerank [L, H] (Algorithm 2), and the run's seed.
    """

    richness: Tensor
    correlation: Tensor
    pagerank: Tensor
    seed: int


class Score(ABC):
    """One way of ranking the heads of a layer."""

    name: ClassVar[str]

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


# The type checker takes no abstract class for a type; here it only says what others derive from.
SCORES: Registry[Score] = Registry(Score, "peftlab.heads.ranking", "strategy.score")  # type: ignore[type-abstract]


def rank_heads(score: str, context: RankingContext) -> Tensor:
    """Return the values [L, H] that the score of this name gives, float64 on the CPU.

    Raises:
        UserError: no such score, or it gives something else than a number for each head.
    """
    ranking = SCORES.get(score)().rank(context).detach().to("cpu", torch.float64)
    shape, expected = list(ranking.shape), list(context.richness.shape)
    require(shape == expected, f"score={score}: ranked values of shape {shape}, expected {expected}, layers and heads")
    require(bool(ranking.isfinite().all()), f"score={score}: ranked values that are no finite numbers")
    return ranking
