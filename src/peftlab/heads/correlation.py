"""How strongly the heads of one layer vary together (HiFi, Section 3.3)."""

import torch
from torch import Tensor

from peftlab.heads.padding import zero_pads


def head_correlation(outputs: Tensor, mask: Tensor) -> Tensor:
    """Return r(h, h'|x) of Eq. 5-6: |covariance| of two heads' mean outputs across their D' features.

    outputs: [B, S, H, D'] head outputs; mask: [B, S], nonzero at real tokens. The mean is over real tokens
    only, the covariance is unbiased (D' - 1). Returns float64 [B, H, H], symmetric, zero on the diagonal; an
    example without tokens and heads of one feature give zeros.
    """
    means = zero_pads(outputs, mask).sum(1, dtype=torch.float64) / mask.bool().sum(1).clamp(min=1)[:, None, None]
    centred = means - means.mean(-1, keepdim=True)
    covariance = centred @ centred.mT / max(centred.shape[-1] - 1, 1)
    others = ~torch.eye(covariance.shape[-1], dtype=torch.bool, device=covariance.device)
    return torch.where(others, covariance.abs(), 0.0)
