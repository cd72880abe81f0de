"""Learned keys and values before those of a self-attention (Li and Liang, 2021, arXiv 2101.00190)."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from peftlab.transformers_internals import cache_argument


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

    Side by side, these layers' matrices are the one output matrix [L * 2 * D, M] of the authors' MLP.
    """

    def __init__(self, trunk: Trunk, width: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.output = nn.Linear(trunk.linear.out_features, 2 * width)

    def forward(self) -> Tensor:
        """Return keys and values, [P, 2 * D]."""
        return cast(Tensor, self.output(self.trunk()))


class FlatPrefix(nn.Module):
    """The keys and values of one layer as they are.

    Args:
        keys_values: [P, 2 * D], keys first.
    """

    def __init__(self, keys_values: Tensor) -> None:
        super().__init__()
        self.keys_values = nn.Parameter(keys_values)

    def forward(self) -> Tensor:
        """Return keys and values, [P, 2 * D]."""
        return self.keys_values


class PrefixAttention(nn.Module):
    """A self-attention whose queries also see a prefix; every token does, and the tokens' positions stay theirs.

    Args:
        frozen: the self-attention; it takes a cache, and asks it for the keys and values to attend to.
        prefix: gives keys and values, [P, 2 * D].
        num_heads: H.
        dropout: on the prefix, while training.
    """

    def __init__(self, frozen: nn.Module, prefix: nn.Module, num_heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.frozen = frozen
        self.prefix = prefix
        self.dropout = nn.Dropout(dropout)
        self._num_heads = num_heads
        self._cache = cache_argument(frozen)

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Any:
        """Return what the self-attention returns for hidden states [B, S, D] and a mask of [B or 1, 1, S or 1, S]."""
        # In full precision, as a stored prefix is: with the MLP and without it, the numbers are the same.
        with torch.autocast(hidden_states.device.type, enabled=False):
            prefix = self.dropout(self.prefix())
        keys, values = prefix.unflatten(-1, (2, self._num_heads, -1)).permute(1, 2, 0, 3)
        options[self._cache] = _Before(keys, values)
        return self.frozen(hidden_states, attention_mask=_seen(attention_mask, len(prefix)), **options)


class _Before:
    """Stands where a cache of earlier tokens would, and keeps nothing between calls."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self._keys, self._values = keys, values

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Return keys and values [B, H, S, D'] with the prefix's [H, P, D'] before them."""
        return _joined(self._keys, keys), _joined(self._values, values)


def _joined(prefix: Tensor, own: Tensor) -> Tensor:
    return torch.cat([prefix.to(own.dtype).expand(len(own), -1, -1, -1), own], dim=2)


def _seen(mask: Tensor | None, length: int) -> Tensor | None:
    """Put `length` columns that are attended before a mask: true, or 0 where the mask is added to scores."""
    if mask is None:
        return None
    attended = mask.new_full((*mask.shape[:-1], length), mask.dtype == torch.bool)
    return torch.cat([attended, mask], dim=-1)
