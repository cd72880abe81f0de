"""Matrix products in float32 by oneDNN where it is faster than MKL, to which torch leaves them.

Both are float32 all the way and differ by rounding. bfloat16 goes to oneDNN in any case, and other devices have
libraries of their own.
"""

from types import MethodType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftlab.kernels.processor import onednn_outruns_mkl


def product(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x W^T + b of [..., D], [N, D] and [N] as [..., N]; autograd does not see through it."""
    if _goes_to_onednn(inputs, weight):
        return cast(Tensor, torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], ""))
    with torch.autocast(inputs.device.type, enabled=False):
        return F.linear(inputs, weight, bias)


def use_fast_products(model: nn.Module) -> None:
    """Let every `nn.Linear` of a model go by way of `product`; its type stays, since some methods take no other."""
    for module in model.modules():
        if type(module) is nn.Linear:
            module.forward = MethodType(_forward, module)  # type: ignore[method-assign]


def uses_fast_products(layer: nn.Module) -> bool:
    """Return whether a layer goes by way of `product`."""
    return getattr(vars(layer).get("forward"), "__func__", None) is _forward


def _forward(linear: nn.Linear, inputs: Tensor) -> Tensor:
    """Map [..., D] to [..., N]."""
    if not _goes_to_onednn(inputs, linear.weight) or torch.is_autocast_enabled("cpu"):
        return nn.Linear.forward(linear, inputs)
    # Rows in, rows out: a result of more axes would be a view, which callers could not add to in place.
    rows = cast(Tensor, _Linear.apply(inputs.reshape(-1, linear.in_features), linear.weight, linear.bias))
    return rows.view(*inputs.shape[:-1], linear.out_features)


def _goes_to_onednn(inputs: Tensor, weight: Tensor) -> bool:
    on_cpu = inputs.device.type == "cpu" and inputs.dtype == weight.dtype == torch.float32
    # On AVX2 oneDNN is no faster than MKL, and a tenth slower for the gradients of weights.
    return on_cpu and inputs.numel() > 0 and onednn_outruns_mkl()


class _Linear(torch.autograd.Function):
    """y = x W^T + b of [R, D], [N, D] and [N]; x is kept only where W is tuned."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        _, needs_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(weight, inputs if needs_weight else None)
        return product(inputs, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradient = grad_outputs[0].contiguous()
        weight, inputs = ctx.saved_tensors
        needs_inputs, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            product(gradient, weight.T) if needs_inputs else None,
            product(gradient.T, inputs.T) if needs_weight else None,
            gradient.sum(0) if needs_bias else None,
        )
