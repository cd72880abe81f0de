"""What makes heads of different layers comparable: the quantities by which heads are dealt to layers.

PageRank vectors sum to 1 in every layer: over layers they say how concentrated a layer is, not how much it matters.
Each of these says of a head what does not depend on the other heads of its layer, but for `gradient`, which its authors
normalise by layer. All return float64 [L, H], none negative; a layer's score is the sum of its heads'.
"""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from peftlab.errors import require
from peftlab.heads.scores import MEASURES, HeadScores

LayerScore = Literal["richness", "spectrum", "gradient", "fisher"]


def richness(scores: HeadScores) -> Tensor:
    """Return I_h, the mean number of singular directions of a head's output (HiFi, Eq. 3)."""
    return scores.richness.to(torch.float64)


def spectrum(scores: HeadScores) -> Tensor:
    """Return the effective rank of a head's output, exp(-sum_i p_i ln p_i), with p_i the share of singular value i.

    Roy and Vetterli (2007, "The effective rank"), of the shares' mean over examples (HiFi, Fig. 5): richness without a
    threshold. A dead head has 0. EVA (Paischer et al., 2024, arXiv 2410.07170) divides LoRA's ranks among layers by
    spectra too.
    """
    require(scores.spectrum is not None, "layer_score=spectrum: no spectrum was kept of these scores")
    assert scores.spectrum is not None
    reached = scores.spectrum.to(torch.float64)
    shares = reached.diff(dim=-1, prepend=torch.zeros_like(reached[..., :1])).clamp(min=0.0)
    entropy = -torch.special.xlogy(shares, shares).sum(-1)
    return torch.where(reached[..., -1] > 0, entropy.exp(), 0.0)


def gradient(scores: HeadScores) -> Tensor:
    """Return E_x |y_h . dL/dy_h| over its L2 norm in the layer, as Michel et al. (2019, Sec. 4.1) sort all heads."""
    found = _measured(scores, "gradient")
    norm = torch.linalg.vector_norm(found, dim=-1, keepdim=True)
    return torch.where(norm > 0, found / norm, 0.0)


def fisher(scores: HeadScores) -> Tensor:
    """Return E_x sum (w g)^2 over a head's weights (Molchanov et al., 2019, summed over the group).

    GoRA (He et al., 2025, arXiv 2502.12171) divides ranks among layers by a mean of |w g|, clipped to bounds.
    """
    return _measured(scores, "fisher")


LAYER_SCORES: dict[LayerScore, Callable[[HeadScores], Tensor]] = {
    "richness": richness,
    "spectrum": spectrum,
    "gradient": gradient,
    "fisher": fisher,
}
assert tuple(LAYER_SCORES) == get_args(LayerScore)


def measures_of(layer_score: LayerScore) -> tuple[str, ...]:
    """Return which of `MEASURES` a layer score is made of."""
    return (layer_score,) if layer_score in MEASURES else ()


def _measured(scores: HeadScores, name: LayerScore) -> Tensor:
    require(name in scores.measured, f"layer_score={name}: it was not measured; allowed is what these scores hold")
    return scores.measured[name].to(torch.float64)
