"""Pads hold outputs too, and never count."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def real_tokens(batch: Mapping[str, Any], outputs: Tensor) -> Tensor:
    """Return which tokens of head outputs [B, S, ...] are no pads, [B, S]: all where there is no mask, as of images."""
    mask: Tensor | None = batch.get("attention_mask")
    return outputs.new_ones(outputs.shape[:2]) if mask is None else mask


def zero_pads(outputs: Tensor, mask: Tensor) -> Tensor:
    """Return head outputs [B, S, H, D'] with zeros where `mask` [B, S] is zero; the same tensor if there are no pads.

    Before anything is widened to float64, where the same pass over memory takes twice as long. Whether there are pads
    is asked on a CPU alone: a GPU would be waited for.
    """
    pads = ~mask.bool()
    if outputs.is_cpu and not pads.any():
        return outputs
    return outputs.masked_fill(pads[:, :, None, None], 0.0)
