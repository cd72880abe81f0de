"""PageRank over the heads of a layer: richness starts the walk, correlation steers it (HiFi, Section 3.4).

Eq. 9-10 as printed multiply a row-stochastic M from the left, whose only fixed point is 1/H for every head.
The `column` orientation transposes M, which is ordinary PageRank; `row` keeps the printed text, whose ranking
is what early stopping leaves of the start. With `column` and uniform teleport the fixed point forgets the
start, so richness counts only through the `richness` teleport (personalised PageRank).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from peftlab.heads.options import Orientation, Teleport, check_pagerank


@dataclass(frozen=True, eq=False)
class PageRank:
    """Scores [..., H] (float64) and the number of updates [...] (int64) each graph took."""

    scores: Tensor
    iterations: Tensor


def pagerank(
    correlation: Tensor,
    richness: Tensor,
    *,
    d: float = 0.85,
    eps: float = 1e-5,
    max_iter: int = 100,
    orientation: Orientation = "column",
    teleport: Teleport = "uniform",
) -> PageRank:
    """Iterate P <- d M P + (1 - d) v from P0 (Eq. 8, 10; Algorithm 2) until ||P1 - P0||_2 <= eps.

    correlation: [..., H, H] and richness: [..., H], both non-negative, with the same leading dimensions, each
    a graph of its own: one that has converged stays as it is while others go on. v is 1/H (`uniform`) or P0
    (`richness`). Raises UserError for d outside [0, 1), eps <= 0, max_iter < 1 and unknown names.
    """
    check_pagerank(d=d, eps=eps, max_iter=max_iter, orientation=orientation, teleport=teleport)
    matrix = transition_matrix(correlation, orientation)
    ranks = start(richness)
    restart = (1 - d) * (ranks if teleport == "richness" else torch.full_like(ranks, 1 / ranks.shape[-1]))
    moving = torch.ones(ranks.shape[:-1], dtype=torch.bool, device=ranks.device)
    iterations = torch.zeros_like(moving, dtype=torch.int64)
    for _ in range(max_iter):
        updated = d * (matrix @ ranks.unsqueeze(-1)).squeeze(-1) + restart
        error = torch.linalg.vector_norm(updated - ranks, dim=-1)
        ranks = torch.where(moving.unsqueeze(-1), updated, ranks)
        iterations += moving
        moving = moving & (error > eps)
        if not moving.any():
            break
    return PageRank(ranks, iterations)


def start(richness: Tensor) -> Tensor:
    """Return P0 of Eq. 8: richness [..., H] as shares of its sum, float64; uniform where all of it is 0."""
    richness = richness.to(torch.float64)
    total = richness.sum(-1, keepdim=True)
    return torch.where(total > 0, richness / total, 1 / richness.shape[-1])


def transition_matrix(correlation: Tensor, orientation: Orientation) -> Tensor:
    """Return M of Eq. 9 from R [..., H, H], float64: rows sum to 1 (`row`, as printed) or columns (`column`).

    A head that correlates with no other (a zero row) moves to every other head alike; a single head stays.
    """
    correlation = correlation.to(torch.float64)
    size = correlation.shape[-1]
    self_loop = torch.eye(size, dtype=torch.float64, device=correlation.device)
    elsewhere = (1 - self_loop) / (size - 1) if size > 1 else self_loop
    total = correlation.sum(-1, keepdim=True)
    matrix = torch.where(total > 0, correlation / total, elsewhere)
    return matrix.mT if orientation == "column" else matrix
