"""Child-Tuning (Xu et al., 2021, arXiv 2109.05687): gradients reach only a child network of the backbone."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from peftlab.backbones.loading import Backbone
from peftlab.errors import UserError, require
from peftlab.masks.child_network import ChildNetwork
from peftlab.masks.fisher import fisher_information
from peftlab.masks.largest import largest_share
from peftlab.masks.packing import pack, packed_bytes, unpack
from peftlab.strategies.attached import Attached
from peftlab.strategies.bases.in_place import AttachedInPlace, InPlaceStrategy
from peftlab.strategies.contract import SelectionContext
from peftlab.streams import Stream, seed_of
from peftlab.terminal import track

log = logging.getLogger(__name__)

_BITS, _VALUES = ".bits", ".values"
_ROUNDING = 1e-3  # ties with the smallest value kept are kept too


@dataclass(frozen=True)
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
        selection: D: a `child_network.safetensors`, or a run's folder, to reuse instead of measuring.
    """

    name = "child-tuning"
    selection_type = ChildNetwork

    variant: Literal["D", "F"] = "D"
    p: float = 0.3
    fisher: Literal["batch", "example"] = "batch"
    max_norm: float | None = 1.0
    n: int | None = None
    pool: Literal["full", "shots"] = "full"
    strict: bool = False
    selection: str | None = field(default=None, metadata={"path": ChildNetwork.fingerprint})

    def __post_init__(self) -> None:
        require(0 < self.p <= 1, f"strategy.p={self.p}: allowed is above 0, up to 1")
        require(self.n is None or self.n >= 1, f"strategy.n={self.n}: allowed is 1 or more, or null for all")
        positive = self.max_norm is None or self.max_norm > 0
        require(positive, f"strategy.max_norm={self.max_norm}: allowed is above 0, or null")
        fixed = self.variant == "D" or not self.strict
        require(fixed, "strategy.strict=true: variant F has a new child network at each step; allowed with variant D")
        measured = self.variant == "D" or self.selection is None
        require(
            measured, f"strategy.selection={self.selection}: variant F has no mask to reuse; allowed with variant D"
        )

    def check(self, backbone: Backbone) -> None:
        """Refuse a child network that is to be reused and is not of this backbone's encoder."""
        if self.selection is not None:
            self._read_selection(backbone)

    def select(self, context: SelectionContext) -> ChildNetwork | None:
        """D: measure the encoder's weights in a pass over the training data and keep the share p, or read the mask."""
        if self.variant == "F":
            return None
        if self.selection is not None:
            return self._read_selection(context.backbone)
        backbone, data = context.backbone, context.data
        examples = data.sample(self.n, context.seed, self.pool)
        size = data.batch_size if self.fisher == "batch" else 1
        encoder = backbone.view.encoder_parameters()
        batches, loss = data.batches(examples, size, context.device), data.loss_of(backbone)
        shown = track(batches, "measuring weights", math.ceil(len(examples) / size))
        measured = fisher_information(backbone.model, loss, shown, encoder, self.max_norm)
        masks, threshold = largest_share(measured, self.p)
        return ChildNetwork({name: mask.cpu() for name, mask in masks.items()}, threshold, len(examples))

    def chooses(self, name: str, parameter: nn.Parameter) -> bool:
        """Choose every parameter: embeddings and pooler are always trained, and decay reaches all."""
        return True

    def _read_selection(self, backbone: Backbone) -> ChildNetwork:
        assert self.selection is not None
        network = ChildNetwork.load(Path(self.selection).expanduser())
        shapes = {name: mask.shape for name, mask in network.masks.items()}
        own = {name: p.shape for name, p in backbone.view.encoder_parameters().items()}
        if differing := [name for name in {**own, **shapes} if own.get(name) != shapes.get(name)]:
            raise UserError(
                f"strategy.selection={self.selection}: it is for another encoder than that of backbone "
                f"{backbone.name}: {differing[0]} has shape {_spelt(shapes, differing[0])} there and "
                f"{_spelt(own, differing[0])} here"
            )
        density = network.kept / network.entries
        if abs(density - self.p) > _ROUNDING:
            log.warning(
                "strategy.selection: it keeps %.4g of the weights, not p=%g, and is taken as it is", density, self.p
            )
        return network

    def attach(self, backbone: Backbone, selection: Any = None) -> Attached:
        """Let every parameter require gradients, and mask them while it trains."""
        return AttachedChild(self, backbone, selection)


class AttachedChild(AttachedInPlace):
    """A backbone all of which is tuned, whose gradients are masked."""

    strategy: ChildTuning

    def num_tuned(self) -> int:
        """Return how many weights gradients reach: in variant D the child network and all outside the encoder."""
        return super().num_tuned() - sum(int((~mask).sum()) for mask in self._masks.values())

    def after_clipping(self) -> None:
        """Mask the gradients: the norm that is clipped is that of all of them, as in the authors' code."""
        for name, parameter in {**self.tuned(), **self.classifier()}.items():
            if parameter.grad is None:
                continue
            if self._generator is not None:
                parameter.grad.mul_(self.random_mask(parameter.grad)).div_(self.strategy.p)
            elif name in self._masks:
                parameter.grad.mul_(self._masks[name])

    def random_mask(self, gradient: Tensor) -> Tensor:
        """Return F's mask of one gradient at one step, of its shape and type: 1 with probability p, otherwise 0."""
        return torch.empty_like(gradient).bernoulli_(self.strategy.p, generator=self._generator)

    @torch.no_grad()
    def after_step(self) -> None:
        """Take weight decay back where the child network is strict."""
        parameters = self.tuned()
        for name, frozen in self._frozen.items():
            parameters[name].copy_(torch.where(self._masks[name], parameters[name], frozen))

    def state(self) -> dict[str, Any]:
        """F: return where the draws of the child networks stand."""
        return {"generator": self._generator.get_state()} if self._generator else {}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """F: continue the draws."""
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
        masked = [name.removesuffix(_BITS) for name in tensors if name.endswith(_BITS)]
        for name in masked if self.strategy.strict else []:
            require(name in own and name + _VALUES in whole, f"delta: {name} is no parameter here, or has no values")
            mask, values = unpack(whole.pop(name + _BITS), own[name].shape), whole.pop(name + _VALUES)
            require(
                values.shape == (int(mask.sum()),), f"delta: {name} has {values.numel()} values, {int(mask.sum())} bits"
            )
            whole[name] = self._pretrained[name].masked_scatter(mask, values)
            self._masks[name] = mask.to(own[name].device)
        super().load_delta(whole)

    def _insert(self, selection: Any) -> None:
        super()._insert(selection)
        device = next(self.model.parameters()).device
        # A stored delta brings its own masks.
        masks = selection.masks if isinstance(selection, ChildNetwork) else {}
        self._masks = {name: mask.to(device) for name, mask in masks.items()}
        self._frozen = {name: self._pretrained[name].to(device) for name in self._sparse()}
        # The run's seed, alike on all ranks: they must draw the same child network.
        draws = self.strategy.variant == "F"
        start = seed_of(Stream.CHILD_NETWORKS, torch.initial_seed())
        self._generator = torch.Generator(device).manual_seed(start) if draws else None

    def _sparse(self) -> dict[str, Tensor]:
        """Return the masks outside of which nothing moves."""
        return self._masks if self.strategy.strict else {}


def _spelt(shapes: Mapping[str, torch.Size], name: str) -> str:
    return str(list(shapes[name])) if name in shapes else "none"
