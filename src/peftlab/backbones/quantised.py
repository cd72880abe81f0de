"""`backbone.quantize=nf4`: the matrices of the layers take four or eight bits a number, in codes of bitsandbytes.

They are rounded once, when they are read: heads are scored on, and methods begin from, the numbers for which codes
stand, which are the same wherever a delta is put onto them again. To round them once more changes nothing, so what
nothing tunes can be kept as codes while training and multiplied out where it is used, to those very numbers.

bitsandbytes gives the codes, and not the layers: its 8-bit product rounds what a layer reads, too (LLM.int8(),
arXiv 2208.07339), and scales that are quantised in turn (QLoRA, arXiv 2305.14314, Section 3) are other ones when they
are rounded again. All that is used of the library stands in this file.
"""

import importlib
from collections.abc import Iterable, Iterator
from types import MethodType
from typing import Any, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import Conv1D

from peftlab.backbones.product import layer_product
from peftlab.backbones.spec import Bits
from peftlab.backbones.view import BackboneView, weight_axis
from peftlab.errors import MissingPackageError, require
from peftlab.kernels.linear import uses_fast_products

BLOCK = 64  # numbers that share a scale in four bits, as in QLoRA; in eight bits those of a row do


class Codes(nn.Module):
    """Matrices [N, D] as codes and scales: a parametrization (`torch.nn.utils.parametrize`) of a layer's weight.

    Four bits: NF4 or FP4, a number is its code's value times its block's largest. Eight bits: a number is its code's
    127th part of its row's largest in float16.

    Raises:
        MissingPackageError: bitsandbytes is not installed.
    """

    def __init__(self, bits: Bits, shape: torch.Size) -> None:
        super().__init__()
        self._bits, self._shape, self._library = bits, shape, library(bits)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes, uint8 [N * D / 2, 1] or int8 [N, D], and the scales, float32 [N * D / 64] or [N]."""
        if self._bits == "int8":
            codes, scales, _ = self._library.int8_vectorwise_quant(weight.half())
            return codes, scales
        codes, state = self._library.quantize_4bit(weight.contiguous(), blocksize=BLOCK, quant_type=self._bits)
        return codes, state.absmax

    def forward(self, codes: Tensor, scales: Tensor) -> Tensor:
        """Return the float32 numbers for which codes stand."""
        if self._bits == "int8":
            return cast(Tensor, self._library.int8_vectorwise_dequant(codes, scales))
        state = self._library.QuantState(
            scales, shape=self._shape, dtype=torch.float32, blocksize=BLOCK, quant_type=self._bits
        )
        return cast(Tensor, self._library.dequantize_4bit(codes, state))


def library(bits: Bits) -> Any:
    """Return bitsandbytes' functions; raises MissingPackageError where it is not installed."""
    try:
        return importlib.import_module("bitsandbytes.functional")
    except ImportError as error:
        raise MissingPackageError(
            f"backbone.quantize={bits}: bitsandbytes is not installed; pip install 'peftlab[quantize]'"
        ) from error


def layer_matrices(view: BackboneView) -> list[nn.Parameter]:
    """Return the weights of the linear layers inside a backbone's layers: no embeddings, no pooler, no output layer."""
    layers = dict.fromkeys(view.layer(index) for index in range(view.num_layers))  # one may serve several depths
    return [module.weight for layer in layers for module in _linear(layer)]


@torch.no_grad()
def round_layers(view: BackboneView, bits: Bits) -> None:
    """Round the matrices of the layers to what codes stand for; they stay in float32.

    Raises:
        MissingPackageError: bitsandbytes is not installed.
        UserError: a number that eight bits' scales, in float16, do not reach.
    """
    for weight in layer_matrices(view):
        weight.copy_(_round_trip(weight, bits))
        told = f"backbone.quantize={bits}: allowed are null, nf4, fp4; a weight is above 65504, the largest of float16"
        require(bool(weight.isfinite().all()), told)


@torch.no_grad()
def keep_in_codes(model: nn.Module, matrices: Iterable[nn.Parameter], bits: Bits) -> int:
    """Keep as codes those matrices that nothing tunes; return how many weights they have.

    A layer's `weight` stays readable and is multiplied out at each reading. What a method has changed since it was
    rounded, or reads by a layer of its own, stays as it is.

    Args:
        model: with a strategy attached.
        matrices: what was rounded, as it was called before the strategy came.
        bits: to what.
    """
    rounded, kept = set(matrices), 0
    for module in list(_linear(model)):
        weight = module.weight
        own_way = "forward" in vars(module) and not uses_fast_products(module)
        if weight not in rounded or weight.requires_grad or own_way or not _is_exact(weight, bits):
            continue
        fast = uses_fast_products(module)
        _parametrise(module, bits)
        module.forward = MethodType(_fast_forward if fast else _plain_forward, module)
        kept += weight.numel()
    return kept


def _linear(model: nn.Module) -> Iterator[Any]:
    """Yield linear layers whose matrix [N, D], or [D, N], has an even width: two codes of four bits are a byte.

    Layers of classes derived from them use their matrix otherwise.
    """
    whole: Iterator[Any] = (module for module in model.modules() if type(module) in (nn.Linear, Conv1D))
    return (module for module in whole if module.weight.shape[-1] % 2 == 0)


def _round_trip(weight: Tensor, bits: Bits) -> Tensor:
    codes = Codes(bits, weight.shape)
    # On the CPU, whatever trains: a delta is put onto its backbone there.
    return codes(*codes.right_inverse(weight.detach().cpu()))


def _is_exact(weight: Tensor, bits: Bits) -> bool:
    return torch.equal(_round_trip(weight, bits), weight.detach().cpu())


def _parametrise(module: Any, bits: Bits) -> None:
    device = module.weight.device
    module.weight.data = module.weight.data.cpu()
    parametrize.register_parametrization(module, "weight", Codes(bits, module.weight.shape))
    module.to(device)


def _fast_forward(linear: nn.Module, inputs: Tensor) -> Tensor:
    return _forward(linear, inputs, fast=True)


def _plain_forward(linear: nn.Module, inputs: Tensor) -> Tensor:
    return _forward(linear, inputs, fast=False)


def _forward(linear: Any, inputs: Tensor, fast: bool) -> Tensor:
    """Map [..., D] to [..., N] as the whole matrix would, in autocast's type where that is on."""
    device = inputs.device.type
    kind = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else inputs.dtype
    bias = None if linear.bias is None else linear.bias.to(kind)
    kept = linear.parametrizations["weight"]
    use = _Use(kept[0], weight_axis(linear), fast)
    # Rows in, rows out: a result of more axes would be a view, which callers could not add to in place.
    rows = inputs.reshape(-1, inputs.shape[-1]).to(kind)
    made = cast(Tensor, _Linear.apply(rows, bias, kept.original0, kept.original1, use))
    return made.view(*inputs.shape[:-1], made.shape[-1])


class _Use(NamedTuple):
    """What codes stand for, which axis of it counts rows, and by which way it is multiplied with."""

    stands_for: Codes
    axis: Literal[0, 1]
    fast: bool

    def matrix(self, codes: Tensor, scales: Tensor, kind: torch.dtype) -> Tensor:
        """Return the matrix as [N, D]."""
        weight = self.stands_for(codes, scales).to(kind)
        return weight.T if self.axis else weight


class _Linear(torch.autograd.Function):
    """y = x W^T + b of [R, D], [N, D] and [N], with W multiplied out where it is used and kept by neither pass."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, bias: Tensor | None, codes: Tensor, scales: Tensor, use: _Use) -> Tensor:
        ctx.save_for_backward(codes, scales)
        ctx.use = use
        return layer_product(use.fast, inputs, use.matrix(codes, scales, inputs.dtype), bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradient = grad_outputs[0].contiguous()
        needs_inputs, needs_bias, *_ = ctx.needs_input_grad
        to_inputs = None
        if needs_inputs:
            weight = ctx.use.matrix(*ctx.saved_tensors, gradient.dtype)
            to_inputs = layer_product(ctx.use.fast, gradient, weight.T)
        to_bias = gradient.sum(0) if needs_bias else None
        return to_inputs, to_bias, None, None, None
