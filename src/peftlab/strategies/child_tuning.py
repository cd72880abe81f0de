"""Child-Tuning (Xu et al., 2021, arXiv 2109.05687): gradients reach only a child network of the backbone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from peftlab.backbones.backbone import Backbone
from peftlab.errors import require
from peftlab.masks.child_network import ChildNetwork
from peftlab.masks.fisher import fisher_information
from peftlab.masks.largest import largest_share
from peftlab.masks.packing import pack, packed_bytes, unpack
from peftlab.strategies.bases.in_place import InPlaceStrategy
from peftlab.strategies.contract import Preparation

_BITS, _VALUES = ".bits", ".values"


@dataclass
class ChildTuning(InPlaceStrategy):
    """Tune the whole backbone with masked gradients; AdamW and all else as in full fine-tuning.

    Options (defaults and their sources in `conf/strategy/child-tuning.yaml`):
        variant: `D`, a fixed child network of the encoder's weights with the most Fisher information; or `F`, each step
            a new random one of all weights, whose gradients are divided by p.
        p: share of the weights in the child network.
        fisher: D: square the mean gradient of a `batch`, or that of each `example`.
        max_norm: D: each tensor's gradient is scaled down to this norm before it is squared; null: not.
        n: D: training examples that Fisher information is taken from; null: all.
        pool: D: `full`, the whole training set even with few shots, or `shots`, the few alone.
        strict: D: hold all weights outside the child network; otherwise weight decay shrinks them.
    """

    name = "child-tuning"

    variant: Literal["D", "F"] = "D"
    p: float = 0.3
    fisher: Literal["batch", "example"] = "batch"
    max_norm: float | None = 1.0
    n: int | None = None
    pool: Literal["full", "shots"] = "full"
    strict: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.p <= 1, f"strategy.p={self.p}: allowed is above 0, up to 1")
        require(self.n is None or self.n >= 1, f"strategy.n={self.n}: allowed is 1 or more, or null for all")
        positive = self.max_norm is None or self.max_norm > 0
        require(positive, f"strategy.max_norm={self.max_norm}: allowed is above 0, or null")
        fixed = self.variant == "D" or not self.strict
        require(fixed, "strategy.strict=true: variant F has a new child network at each step; allowed with variant D")

    def select(self, preparation: Preparation) -> ChildNetwork | None:
        """D: measure the encoder's weights in one pass over the training data and keep the share p."""
        if self.variant == "F":
            return None
        backbone, data = preparation.backbone, preparation.data
        examples = data.sample(self.n, preparation.seed, self.pool)
        size = data.batch_size if self.fisher == "batch" else 1
        encoder = backbone.geometry.encoder_parameters()
        measured = fisher_information(backbone, examples, encoder, size, self.max_norm, preparation.device)
        masks, threshold = largest_share(measured, self.p)
        return ChildNetwork({name: mask.cpu() for name, mask in masks.items()}, threshold, len(examples))

    def chooses(self, name: str, parameter: nn.Parameter) -> bool:
        """Choose every parameter: embeddings and pooler are always trained, and decay reaches all."""
        return True

    def count(self) -> int:
        """Return how many weights gradients reach: in variant D the child network and all outside the encoder."""
        return super().count() - sum(int((~mask).sum()) for mask in self._masks.values())

    def after_clipping(self) -> None:
        """Mask the gradients: the norm that is clipped is that of all of them, as in the authors' code."""
        parameters = {**self.tuned(), **self.classifier()}
        for name, parameter in parameters.items():
            if parameter.grad is None:
                continue
            if self.variant == "F":
                kept = torch.empty_like(parameter.grad).bernoulli_(self.p, generator=self._generator)
                parameter.grad.mul_(kept).div_(self.p)
            elif name in self._masks:
                parameter.grad.mul_(self._masks[name])

    @torch.no_grad()
    def after_step(self) -> None:
        """Take weight decay back where the child network is strict."""
        parameters = self.tuned()
        for name, frozen in self._frozen.items():
            parameters[name].copy_(torch.where(self._masks[name], parameters[name], frozen))

    def load_selection(self, folder: Path) -> ChildNetwork | None:
        """D: return the child network that was chosen before the run was interrupted."""
        return ChildNetwork.load(folder) if self.variant == "D" else None

    def state(self) -> dict[str, Any]:
        """F: return where the draws of the child networks stand."""
        return {"generator": self._generator.get_state()} if self._generator else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """F: go on with the draws."""
        if self._generator:
            self._generator.set_state(state["generator"])

    def stored_bytes(self) -> int:
        """Return the bytes of all weights; of a strict child network its own and one bit for each of the encoder's."""
        outside = sum(4 * int((~mask).sum()) - packed_bytes(mask.numel()) for mask in self._sparse().values())
        return super().stored_bytes() - outside

    def delta(self) -> dict[str, Tensor]:
        """Return all weights; where only the child network's moved, its mask as bits and its weights."""
        tensors = super().delta()
        for name, mask in self._sparse().items():
            tensors[name + _BITS], tensors[name + _VALUES] = pack(mask), tensors.pop(name)[mask.cpu()]
        return tensors

    def load_delta(self, tensors: Mapping[str, Tensor]) -> None:
        """Take a delta back; raises UserError when names, shapes or masks do not fit."""
        whole, own = dict(tensors), self.tuned()
        for name in [name.removesuffix(_BITS) for name in tensors if name.endswith(_BITS)] if self.strict else []:
            require(name in own and name + _VALUES in whole, f"delta: {name} is no parameter here, or has no values")
            mask, values = unpack(whole.pop(name + _BITS), own[name].shape), whole.pop(name + _VALUES)
            require(
                values.shape == (int(mask.sum()),), f"delta: {name} has {values.numel()} values, {int(mask.sum())} bits"
            )
            whole[name] = self._pretrained[name].masked_scatter(mask, values)
            self._masks[name] = mask.to(own[name].device)
        super().load_delta(whole)

    def _attach(self, backbone: Backbone, selection: Any) -> None:
        super()._attach(backbone, selection)
        device = next(backbone.model.parameters()).device
        # A stored delta brings its own masks.
        masks = selection.masks if isinstance(selection, ChildNetwork) else {}
        self._masks = {name: mask.to(device) for name, mask in masks.items()}
        self._frozen = {name: self._pretrained[name].to(device) for name in self._sparse()}
        # The run's seed, alike on all ranks: they must draw the same child network.
        self._generator = torch.Generator(device).manual_seed(torch.initial_seed()) if self.variant == "F" else None

    def _sparse(self) -> dict[str, Tensor]:
        """Return the masks outside of which nothing moves."""
        return self._masks if self.strict else {}
