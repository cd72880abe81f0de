"""What a choice of heads shares with that by either metric alone: a head's degree, or its information richness."""

from collections.abc import Sequence
from typing import Any

import torch
from scipy.stats import rankdata
from torch import Tensor

from peftlab.heads.units import by_unit


def agreement(
    ranking: Tensor, correlation: Tensor, richness: Tensor, heads: Sequence[Sequence[int]], size: int = 1
) -> dict[str, Any]:
    """Return what a choice shares with that by each metric alone, as ``{"degree": ..., "richness": ...}``.

    Of each: `spearman`, the mean over tuned layers of the rank correlation of the ranking with the metric, None where
    it is nowhere defined; `heads`, how many chosen heads the metric would choose too, as many in each layer.

    Args:
        ranking: what was ranked [L, H].
        correlation: [L, H, H]; the degree is its row sum.
        richness: [L, H].
        heads: those chosen in each layer; a layer without any is not counted.
        size: query heads that are chosen as one.
    """
    tuned = [layer for layer, chosen in enumerate(heads) if chosen]
    values = by_unit(ranking, size)
    return {
        name: {
            "spearman": _mean_spearman(values[tuned], metric[tuned]),
            "heads": sum(_shared(metric[layer], {head // size for head in heads[layer]}) for layer in tuned) * size,
        }
        for name, metric in (
            ("degree", by_unit(correlation.sum(-1), size)),
            ("richness", by_unit(richness, size)),
        )
    }


def _mean_spearman(one: Tensor, other: Tensor) -> float | None:
    """Return the mean over rows of Spearman's rank correlation, those left out where either side is constant."""
    ranks = [torch.from_numpy(rankdata(values.numpy(), axis=-1)) for values in (one, other)]
    first, second = (rank - rank.mean(-1, keepdim=True) for rank in ranks)
    scale = first.square().sum(-1).sqrt() * second.square().sum(-1).sqrt()
    defined = scale > 0
    found = (first * second).sum(-1)[defined] / scale[defined]
    return float(found.mean()) if len(found) else None


def _shared(metric: Tensor, chosen: set[int]) -> int:
    best = metric.argsort(descending=True, stable=True)[: len(chosen)].tolist()
    return len(chosen & set(best))
