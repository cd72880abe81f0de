"""What tuning changed, as single weights: of linear layers in the form of peft's Super-Tuning (arXiv 2607.09287)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from peftlab.errors import require

_ROUNDS = 4  # additions until a sum is what it should be; two are enough unless a weight is not finite


@dataclass(frozen=True)
class Entries:
    """Numbers that are added to the weights of one layer, flat: int32 [E] places, float32 [E] values."""

    indices: Tensor
    values: Tensor

    def padded(self, count: int) -> "Entries":
        """Return `count` entries; those that are missing add nothing to the first weight."""
        more = count - len(self.indices)
        return Entries(
            torch.cat([self.indices, self.indices.new_zeros(more)]),
            torch.cat([self.values, self.values.new_zeros(more)]),
        )


@dataclass(frozen=True)
class SparseDelta:
    """The entries of each changed layer by its name, as many in each as `sparsity` makes of its weights.

    Super-Tuning knows one sparsity for all layers and keeps int(n (1 - sparsity)) of n weights of each.
    """

    layers: Mapping[str, Entries]
    sparsity: float


def sparse_delta(model: nn.Module, after: Mapping[str, Tensor], but: set[str]) -> SparseDelta:
    """Return what has to be added to a model's weights to make them `after`, equal to the bit.

    Args:
        model: untouched.
        after: the whole state of the model that was tuned and merged.
        but: parameters that are kept whole elsewhere: the classifier's.

    Raises:
        UserError: something else than a linear layer's weight was changed, or whole ones, or nothing.
    """
    weights = {f"{name}.weight": name for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    found: dict[str, Entries] = {}
    sizes: dict[str, int] = {}
    for name, before in model.state_dict().items():
        if name in but or torch.equal(before, after[name]):
            continue
        require(
            name in weights, f"{name} was tuned; peft's format for single weights holds those of linear layers alone"
        )
        found[weights[name]] = _entries(before.flatten(), after[name].flatten())
        sizes[weights[name]] = before.numel()
    require(bool(found), "nothing but the classifier was tuned")
    # Half an entry more than the fullest layer has: int() may not round it away.
    sparsity = 1 - max((len(entries.indices) + 0.5) / sizes[name] for name, entries in found.items())
    require(sparsity >= 0, "whole matrices were tuned, and single weights would be more; `peftlab merge` writes them")
    return SparseDelta({name: e.padded(int(sizes[name] * (1 - sparsity))) for name, e in found.items()}, sparsity)


def whole_difference(model: nn.Module, after: Mapping[str, Tensor], but: set[str]) -> dict[str, Entries]:
    """Return by parameter what has to be added to a model's weights to make them `after`, equal to the bit.

    Arguments are those of `sparse_delta`.

    Raises:
        UserError: nothing was changed, or so much that the whole weights are smaller.
    """
    own = {name: p.detach() for name, p in model.named_parameters() if name not in but}
    changed = {name: p for name, p in own.items() if not torch.equal(p, after[name])}
    found = {name: _entries(p.flatten(), after[name].flatten()) for name, p in changed.items()}
    require(bool(found), "nothing but the classifier was tuned")
    stored = sum(entries.indices.nbytes + entries.values.nbytes for entries in found.values())
    require(stored < sum(p.nbytes for p in own.values()), "most weights were tuned; `peftlab merge` writes them whole")
    return found


def _entries(before: Tensor, after: Tensor) -> Entries:
    """Return entries that make `before` to `after` [N]; a place has two where the first sum was rounded."""
    places, values, now = [], [], before.clone()
    for _ in range(_ROUNDS):
        where = (now != after).nonzero().flatten()
        if not len(where):
            break
        difference = after[where] - now[where]
        places.append(where.to(torch.int32))
        values.append(difference)
        now[where] += difference
    require(torch.equal(now, after), "a tuned weight is not finite")
    return Entries(torch.cat(places), torch.cat(values))
