"""Attention by plain matrix products where torch's fused kernels are slow: on a CPU, while training.

With dropout torch leaves its fused kernels for a path that computes in float32 and looks for empty rows in every
score matrix; without, the fused backward pass in bfloat16 is slower still. For 16 examples of 128 tokens and 12 heads
of 32 (torch 2.13, one core) forward and backward take 50 ms in either type; written out, 25 in float32 and 17 in
bfloat16.
"""

from typing import Any

import torch
from torch import Tensor, nn

from peftlab.kernels.dropout import dropout as drop
from peftlab.transformers_internals import torch_attention

NAME = "peftlab"  # in transformers' table of attention functions


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Return softmax(Q K^T / sqrt(D') + mask) V as [B, S, H, D'], for transformers' table of attention functions.

    query: [B, H, S, D']; key and value: [B, H_kv, T, D'], where heads of queries may share them; attention_mask: None,
    booleans or addends that broadcast to [B, H, S, T]. Whatever is not training on a CPU, or has a bias by distance
    (`position_bias`), goes to torch's fused kernels.
    """
    trains = torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad)
    # Without a mask it is the module that says whether a token sees those after it.
    causal = options.get("is_causal")
    if causal is None:
        causal = attention_mask is None and query.shape[2] > 1 and getattr(module, "is_causal", True)
    biased = options.get("position_bias") is not None
    if query.device.type != "cpu" or not (trains or dropout) or causal or biased:
        given = {"dropout": dropout, "scaling": scaling, **options}
        return torch_attention(module, query, key, value, attention_mask, **given)
    if key.shape[1] != query.shape[1]:
        group = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = (query * scale) @ key.mT
    if attention_mask is not None:
        scores.add_(_addends(attention_mask, scores.dtype))
    shares = scores.softmax(-1)
    outputs = (drop(shares, dropout) if dropout else shares) @ value
    return outputs.transpose(1, 2).contiguous(), None


def _addends(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what is added to the scores: 0 where `mask` is true, the type's lowest number elsewhere."""
    if mask.dtype != torch.bool:
        return mask.to(dtype)
    return torch.zeros((), dtype=dtype).where(mask, torch.finfo(dtype).min)
