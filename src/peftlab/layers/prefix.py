"""Learned keys and values before those of a self-attention (Li and Liang, 2021, arXiv 2101.00190)."""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftlab.transformers_internals import AttentionFunction, attend_through


class Trunk(nn.Module):
    """The part of the reparameterisation that all layers share: tanh(W e + b), [P, M].

    Args:
        length: P, tokens of the prefix.
        width: D, the hidden size; the embeddings e are [P, D].
        bottleneck: M.
    """

    def __init__(self, length: int, width: int, bottleneck: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(length, width))
        self.linear = nn.Linear(width, bottleneck)

    def forward(self) -> Tensor:
        """Return [P, M]."""
        return torch.tanh(self.linear(self.embedding))


class ReparameterizedPrefix(nn.Module):
    """The keys and values of one layer, made from the shared trunk by a linear layer of its own.

    Side by side, these layers' matrices are the one output matrix [L * 2 * N, M] of the authors' MLP.

    Args:
        trunk: shared by all layers.
        width: N, that of all keys of a token: H_kv * D'.
    """

    def __init__(self, trunk: Trunk, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.output = nn.Linear(trunk.linear.out_features, 2 * width)

    def forward(self) -> Tensor:
        """Return keys and values, [P, 2 * N]."""
        return cast(Tensor, self.output(self.trunk()))


class FlatPrefix(nn.Module):
    """The keys and values of one layer as they are.

    Args:
        keys_values: [P, 2 * N], keys first.
    """

    def __init__(self, keys_values: Tensor) -> None:
        super().__init__()
        self.keys_values = nn.Parameter(keys_values)

    def forward(self) -> Tensor:
        """Return keys and values, [P, 2 * N]."""
        return self.keys_values


class PrefixAttention(nn.Module):
    """A self-attention whose queries also see a prefix; every token does, and the tokens' positions stay theirs.

    A prefix has no positions: rotations and norms of keys do not reach it, nor does a window hide it.

    Args:
        frozen: the self-attention, which attends through `attend_with_prefix` from `join` on, until what that returns
            is called.
        prefix: gives keys and values, [P, 2 * H * D'].
        num_heads: H of keys and values.
        dropout: on the prefix, while training.
    """

    def __init__(self, frozen: nn.Module, prefix: nn.Module, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.frozen = frozen
        self.prefix = prefix
        self.dropout = nn.Dropout(dropout)
        self._num_heads = num_heads

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """Return what the self-attention returns for what it takes."""
        # In full precision, as a stored prefix is: with the MLP and without it, the numbers are the same.
        with torch.autocast(next(self.prefix.parameters()).device.type, enabled=False):
            prefix = self.dropout(self.prefix())
        keys_values = prefix.unflatten(-1, (2, self._num_heads, -1)).permute(1, 2, 0, 3)
        return self.frozen(*inputs, prefix=keys_values, **options)

    def join(self) -> Callable[[], None]:
        """Let the self-attention take the prefix; return what undoes it."""
        return attend_through(self.frozen, "peftlab-prefix", attend_with_prefix)


def attend_with_prefix(
    attend: AttentionFunction,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    prefix: Tensor,
    position_bias: Tensor | None = None,
    **options: Any,
) -> tuple[Tensor, Tensor | None]:
    """Return what `attend` makes of queries [B, H, S, D'] and [prefix, keys] and [prefix, values].

    prefix: [2, H_kv, P, D'], keys first; key and value: [B, H_kv, S, D']; mask: [B or 1, 1, S or 1, S], or None, where
    the module says whether a token sees those after it; position_bias: [1, H, S, S], by the distance of tokens.
    """
    keys, values = (
        torch.cat([part.to(key.dtype).expand(len(key), -1, -1, -1), own], 2)
        for part, own in zip(prefix, (key, value), strict=True)
    )
    length = prefix.shape[2]
    if mask is None and getattr(module, "is_causal", False):
        mask = query.new_ones(1, 1, query.shape[2], key.shape[2], dtype=torch.bool).tril()
    if position_bias is not None:
        options["position_bias"] = F.pad(position_bias, (length, 0))
    return attend(module, query, keys, values, _seen(mask, length), **options)


def _seen(mask: Tensor | None, length: int) -> Tensor | None:
    """Put `length` columns that are attended before a mask: true, or 0 where the mask is added to scores."""
    if mask is None:
        return None
    attended = mask.new_full((*mask.shape[:-1], length), mask.dtype == torch.bool)
    return torch.cat([attended, mask], dim=-1)
