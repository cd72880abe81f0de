"""Attention with extremely small heads, put in after a layer's own attention (arXiv 2211.01979)."""

import copy
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from peftlab.backbones.view import BackboneView, Site
from peftlab.errors import require
from peftlab.transformers_internals import earlier_tokens

Init = Literal["published", "constructor"]

# After attention's residual and LayerNorm; where norms stand before, after attention, whose residual follows.
_SITES: tuple[Site, ...] = ("attention_norm", "attention_end")

# Experts that begin alike get alike gradients; the authors break the tie with this much noise.
_NOISE = 1e-6


def site_of(view: BackboneView) -> Site:
    """Return where in each layer it stands."""
    return next(filter(view.has, _SITES))


class Pads:
    """Where the batch that is running has padding, bool [B, S], True for a pad; None: nowhere.

    A layer's LayerNorm is not told; this is a forward pre-hook of the base model, which is.
    """

    def __init__(self) -> None:
        self._where: Tensor | None = None
        self._continued = False

    @property
    def where(self) -> Tensor | None:
        """Where pads are.

        Raises:
            UserError: tokens of earlier calls are to be read from a cache, in which tiny attention has none.
        """
        require(not self._continued, "use_cache=true: tiny attention keeps no earlier tokens; allowed is false")
        return self._where

    def __call__(self, module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Take note of the batch's attention mask [B, S], 0 for a pad, and of whether it continues an earlier one."""
        mask = named.get("attention_mask")
        self._where = None if mask is None else mask == 0
        self._continued = earlier_tokens(named) > 0


class TinyAttention(nn.Module):
    """LayerNorm, D -> 3e, attention over the sequence with `heads` heads in e dimensions, e -> D.

    Args:
        width: D.
        size: e, all heads together.
        heads: divides e.
        dropout: on the attention weights.
        init: `published`, the projections N(0, 0.02) with zero bias; `constructor`, PyTorch's own with the last one
            scaled by 0.01.
        causal: no token attends to those after it.
    """

    def __init__(self, width: int, size: int, heads: int, dropout: float, init: Init, causal: bool = False) -> None:
        super().__init__()
        self._causal = causal
        self.norm = nn.LayerNorm(width)
        self.down = nn.Linear(width, 3 * size)
        self.attention = nn.MultiheadAttention(size, heads, dropout, batch_first=True)
        self.up = nn.Linear(size, width)
        with torch.no_grad():
            if init == "constructor":
                self.up.weight.mul_(0.01)
                self.up.bias.mul_(0.01)
                return
            for linear in (self.down, self.attention.out_proj, self.up):
                linear.weight.normal_(0.0, 0.02)
                linear.bias.zero_()

    def forward(self, hidden: Tensor, pads: Tensor | None) -> Tensor:
        """Map [B, S, D] to what is added to it; no token attends to where `pads` [B, S] is True."""
        query, key, value = self.down(self.norm(hidden)).chunk(3, dim=-1)
        unseen = {"attn_mask": self._later(hidden, pads)} if self._causal else {"key_padding_mask": pads}
        mixed, _ = self.attention(query, key, value, **unseen, need_weights=False)
        return cast(Tensor, self.up(mixed))

    def _later(self, hidden: Tensor, pads: Tensor | None) -> Tensor:
        """Return which tokens do not see which, bool [B * heads, S, S]; each sees itself, a pad as well."""
        batch, length, _ = hidden.shape
        later = torch.ones(batch, length, length, dtype=torch.bool, device=hidden.device).triu(1)
        if pads is not None:
            later |= pads[:, None] & ~torch.eye(length, dtype=torch.bool, device=hidden.device)
        return later.repeat_interleave(self.attention.num_heads, 0)


def alike(first: TinyAttention, count: int) -> list[TinyAttention]:
    """Return as many experts that begin as `first` does; of several the projections are apart by noise."""
    if count == 1:
        return [first]
    experts = [copy.deepcopy(first) for _ in range(count)]
    with torch.no_grad():
        for parameter in (p for expert in experts for p in expert.down.parameters()):
            parameter.add_(torch.randn_like(parameter), alpha=_NOISE)
    return experts


class Mixture(nn.Module):
    """h + TinyAttention(h) for one expert after the other, each with an equal share.

    Args:
        experts: one, or several.
        average: in evaluation, one expert with the average of all weights stands for several.
    """

    def __init__(self, experts: list[TinyAttention], average: bool) -> None:
        super().__init__()
        self.experts = nn.ModuleList(experts)
        self.average = average and len(experts) > 1

    def mixed(self, hidden: Tensor, pads: Tensor | None) -> Tensor:
        """Map [B, S, D] to [B, S, D]; no token attends to where `pads` [B, S] is True."""
        if self.average and not self.experts.training:
            return cast(Tensor, hidden + functional_call(self.experts[0], self._averaged(), (hidden, pads)))
        for expert in self.experts:
            hidden = hidden + expert(hidden, pads) / len(self.experts)
        return hidden

    def deployed(self) -> dict[str, Tensor]:
        """Return what evaluation needs, by names in this module: each expert's weights, or their average as one's."""
        if not self.average:
            return {f"experts.{name}": parameter for name, parameter in self.experts.named_parameters()}
        return {f"experts.0.{name}": value for name, value in self._averaged().items()}

    def keep_average(self) -> None:
        """Leave one expert with the average of all weights; it computes what the mixture does in evaluation."""
        if self.average:
            self.experts[0].load_state_dict(self._averaged())
            self.experts, self.average = self.experts[:1], False

    def _averaged(self) -> dict[str, Tensor]:
        columns = [dict(expert.named_parameters()) for expert in self.experts]
        return {name: torch.stack([column[name] for column in columns]).mean(0) for name in columns[0]}


class AfterAttention(Mixture):
    """A mixture behind a frozen module.

    Args:
        frozen: the LayerNorm that ends the layer's attention, or what ends it before its residual is added.
        experts: one, or a mixture.
        pads: shared by all layers.
        average: in evaluation, one expert with the average of all weights stands for the mixture.
    """

    def __init__(self, frozen: nn.Module, experts: list[TinyAttention], pads: Pads, average: bool) -> None:
        super().__init__(experts, average)
        self.frozen = frozen
        self.pads = pads

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [B, S, D] to [B, S, D]."""
        return self.mixed(self.frozen(inputs), self.pads.where)
