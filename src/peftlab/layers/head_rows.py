"""A linear layer of which only chosen rows are tuned: the rows of selected attention heads."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from peftlab.kernels.linear import product


def rows_of_heads(heads: Sequence[int], head_dim: int) -> Tensor:
    """Return the row numbers of `heads`, int64 [k * D']: head h owns rows h*D' to (h+1)*D'."""
    return torch.cat([torch.arange(head * head_dim, (head + 1) * head_dim) for head in heads])


class HeadRowsLinear(nn.Module):
    """A frozen `nn.Linear` in which real parameters stand for the chosen rows.

    Output and output gradient are those of the whole matrix; the weight gradient is computed for the chosen
    rows alone. Nothing is ever written into the frozen layer, so its other rows cannot drift under weight decay.

    Args:
        frozen: the layer to stand for, weight [N, D].
        rows: the tuned rows, int64 [R], ascending.
        bias: whether the bias of those rows is tuned too.
    """

    rows: Tensor

    def __init__(self, frozen: nn.Linear, rows: Tensor, bias: bool = False) -> None:
        super().__init__()
        self.frozen = frozen
        self.register_buffer("rows", rows.to(frozen.weight.device), persistent=False)
        self.weight_rows = nn.Parameter(frozen.weight.detach()[self.rows].clone())
        self.bias_rows = nn.Parameter(frozen.bias.detach()[self.rows].clone()) if bias else None
        self._whole: Tensor | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [..., D] to [..., N]."""
        dtype = self._compute_type(inputs)
        return _RowsTunedLinear.apply(
            inputs.to(dtype),
            self.weight_rows,
            self._whole_weight(dtype),
            self._whole_bias(dtype),
            self.rows,
        )

    def merged(self) -> nn.Linear:
        """Write the tuned rows into the frozen layer and return it."""
        with torch.no_grad():
            self.frozen.weight[self.rows] = self.weight_rows.to(self.frozen.weight.dtype)
            if self.bias_rows is not None:
                self.frozen.bias[self.rows] = self.bias_rows.to(self.frozen.bias.dtype)
        return self.frozen

    def _compute_type(self, inputs: Tensor) -> torch.dtype:
        kind = inputs.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype

    # A matrix first made in inference mode could not be written to by a later training step.
    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def _whole_weight(self, dtype: torch.dtype) -> Tensor:
        """Return the whole matrix in the compute type; it is kept, and only the tuned rows are written anew."""
        whole, weight = self._whole, self.frozen.weight
        if whole is None or whole.dtype != dtype or whole.device != weight.device:
            self._whole = whole = weight.to(dtype, copy=True)
        whole[self.rows] = self.weight_rows.to(dtype)
        return whole

    def _whole_bias(self, dtype: torch.dtype) -> Tensor:
        if self.bias_rows is None:
            return self.frozen.bias.to(dtype)
        return self.frozen.bias.to(dtype).index_copy(0, self.rows, self.bias_rows.to(dtype))


class _RowsTunedLinear(torch.autograd.Function):
    """y = x W^T + b with dL/dW computed only for the chosen rows: g[:, rows]^T x.

    `whole` is kept on the context by reference, not as a saved tensor: its tuned rows are rewritten in place at
    each forward, with the same values until the next optimiser step.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight_rows: Tensor, whole: Tensor, bias: Tensor, rows: Tensor) -> Tensor:
        ctx.save_for_backward(inputs, rows)
        ctx.whole, ctx.rows_type = whole, weight_rows.dtype
        return product(inputs, whole, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradient = grad_outputs[0].contiguous()
        inputs, rows = ctx.saved_tensors
        needs_inputs, needs_rows, _, needs_bias, _ = ctx.needs_input_grad
        flat = gradient.reshape(-1, gradient.shape[-1])
        to_inputs = product(gradient, ctx.whole.T) if needs_inputs else None
        to_rows = None
        if needs_rows:
            own = flat.index_select(1, rows)
            to_rows = product(own.T, inputs.reshape(-1, inputs.shape[-1]).T).to(ctx.rows_type)
        to_bias = flat.sum(0) if needs_bias else None
        return to_inputs, to_rows, None, to_bias, None
