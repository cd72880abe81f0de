"""A linear layer of which only what belongs to chosen attention heads is tuned: rows of a projection, or columns."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from peftlab.backbones.product import layer_product
from peftlab.errors import require
from peftlab.kernels.linear import uses_fast_products


def rows_of_heads(heads: Sequence[int], head_dim: int) -> Tensor:
    """Return the row numbers of `heads`, int64 [k * D']: head h owns rows h*D' to (h+1)*D'."""
    return torch.cat([torch.arange(head * head_dim, (head + 1) * head_dim) for head in heads])


class HeadLinear(nn.Module, ABC):
    """A frozen linear layer in which real parameters stand for a part of its matrix.

    Output and output gradient are those of the whole matrix; the weight gradient is computed for the chosen part
    alone. Nothing is ever written into the frozen layer, so all else cannot drift under weight decay.

    Args:
        frozen: the layer to stand for: `nn.Linear`, or another with a `weight` and a `bias`, which may be None.
        axis: which axis of the weight counts rows: 0 for [N, D], 1 for [D, N], as in transformers' `Conv1D`.
    """

    def __init__(self, frozen: nn.Module, axis: Literal[0, 1]) -> None:
        super().__init__()
        self.frozen = cast(Any, frozen)  # its weight and bias are tensors, which the type of a module does not say
        self._axis = axis
        self._fast = uses_fast_products(frozen)
        self._whole: Tensor | None = None
        # Whether a whole matrix is kept, into which the tuned part is written: a copy of the frozen one.
        self.keeps_whole = True

    def merged(self) -> nn.Module:
        """Write the tuned part into the frozen layer and return it."""
        with torch.no_grad():
            self._write(self._frozen_weight())
        frozen: nn.Module = self.frozen
        return frozen

    @abstractmethod
    def _write(self, matrix: Tensor) -> None:
        """Write the tuned part into a matrix [N, D] of any floating type."""

    def _frozen_weight(self) -> Tensor:
        """Return the frozen matrix as [N, D], without a copy."""
        weight: Tensor = self.frozen.weight.detach()
        return weight.mT if self._axis else weight

    def _compute_type(self, inputs: Tensor) -> torch.dtype:
        kind = inputs.device.type
        return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype

    # A matrix first made in inference mode could not be written to by a later training step.
    @torch.inference_mode(mode=False)
    @torch.no_grad()
    def _whole_weight(self, dtype: torch.dtype) -> Tensor:
        """Return the whole matrix in the compute type; it is kept, and only the tuned part is written anew."""
        whole, weight = self._whole, self.frozen.weight
        if whole is None or whole.dtype != dtype or whole.device != weight.device:
            self._whole = whole = self._frozen_weight().to(dtype, copy=True)
        self._write(whole)
        return whole

    def _whole_bias(self, dtype: torch.dtype) -> Tensor | None:
        return None if self.frozen.bias is None else self.frozen.bias.to(dtype)


class HeadRowsLinear(HeadLinear):
    """A frozen linear layer in which real parameters stand for the chosen rows.

    Args:
        frozen: as `HeadLinear` has it.
        rows: the tuned rows, int64 [R], ascending.
        bias: whether the bias of those rows is tuned too.
        axis: as `HeadLinear` has it.

    Raises:
        UserError: the bias is to be tuned, and there is none.
    """

    rows: Tensor

    def __init__(self, frozen: nn.Module, rows: Tensor, bias: bool = False, axis: Literal[0, 1] = 0) -> None:
        super().__init__(frozen, axis)
        require(not bias or frozen.bias is not None, "bias=true: allowed is false, the projection has no bias")
        self.register_buffer("rows", rows.to(self.frozen.weight.device), persistent=False)
        self.weight_rows = nn.Parameter(self._frozen_weight()[self.rows].clone(memory_format=torch.contiguous_format))
        self.bias_rows = nn.Parameter(self.frozen.bias.detach()[self.rows].clone()) if bias else None

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [..., D] to [..., N]."""
        if not self.keeps_whole:
            return self._beside(inputs)
        dtype = self._compute_type(inputs)
        return _RowsTunedLinear.apply(
            inputs.to(dtype),
            self.weight_rows,
            self._whole_weight(dtype),
            self._whole_bias(dtype),
            self.rows,
            self._fast,
        )

    def _beside(self, inputs: Tensor) -> Tensor:
        """Compute with the frozen matrix, and the tuned rows once more."""
        bias = self.bias_rows
        if bias is None and self.frozen.bias is not None:
            bias = self.frozen.bias[self.rows]
        own = F.linear(inputs, self.weight_rows, bias)
        whole: Tensor = self.frozen(inputs)
        return whole.index_copy(-1, self.rows, own)

    def merged(self) -> nn.Module:
        """Write the tuned rows and their biases into the frozen layer and return it."""
        if self.bias_rows is not None:
            with torch.no_grad():
                self.frozen.bias[self.rows] = self.bias_rows.to(self.frozen.bias.dtype)
        return super().merged()

    def _write(self, matrix: Tensor) -> None:
        matrix[self.rows] = self.weight_rows.to(matrix.dtype)

    def _whole_bias(self, dtype: torch.dtype) -> Tensor | None:
        bias = super()._whole_bias(dtype)
        if bias is None or self.bias_rows is None:
            return bias
        return bias.index_copy(0, self.rows, self.bias_rows.to(dtype))


class HeadColumnsLinear(HeadLinear):
    """A frozen linear layer in which real parameters stand for the chosen columns: what it makes of chosen heads.

    Args:
        frozen: as `HeadLinear` has it.
        columns: the tuned columns, int64 [C], ascending; rows of the weight where `axis` is 1.
        axis: as `HeadLinear` has it.
    """

    columns: Tensor

    def __init__(self, frozen: nn.Module, columns: Tensor, axis: Literal[0, 1] = 0) -> None:
        super().__init__(frozen, axis)
        self.register_buffer("columns", columns.to(self.frozen.weight.device), persistent=False)
        own = self._frozen_weight()[:, self.columns]
        self.weight_columns = nn.Parameter(own.clone(memory_format=torch.contiguous_format))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [..., D] to [..., N]."""
        if not self.keeps_whole:
            return self._beside(inputs)
        dtype = self._compute_type(inputs)
        return _ColumnsTunedLinear.apply(
            inputs.to(dtype),
            self.weight_columns,
            self._whole_weight(dtype),
            self._whole_bias(dtype),
            self.columns,
            self._fast,
        )

    def _beside(self, inputs: Tensor) -> Tensor:
        """Compute with the frozen matrix what other columns make, and with the tuned ones the rest."""
        others: Tensor = self.frozen(inputs.index_fill(-1, self.columns, 0))
        return others + F.linear(inputs.index_select(-1, self.columns), self.weight_columns)

    def _write(self, matrix: Tensor) -> None:
        matrix[:, self.columns] = self.weight_columns.to(matrix.dtype)


class _RowsTunedLinear(torch.autograd.Function):
    """y = x W^T + b with dL/dW computed only for the chosen rows: g[:, rows]^T x.

    `whole` is kept on the context by reference, not as a saved tensor: its tuned rows are rewritten in place at
    each forward, with the same values until the next optimiser step.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight_rows: Tensor,
        whole: Tensor,
        bias: Tensor | None,
        rows: Tensor,
        fast: bool,
    ) -> Tensor:
        ctx.save_for_backward(inputs, rows)
        ctx.whole, ctx.rows_type, ctx.fast = whole, weight_rows.dtype, fast
        return layer_product(fast, inputs, whole, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradient = grad_outputs[0].contiguous()
        inputs, rows = ctx.saved_tensors
        needs_inputs, needs_rows, _, needs_bias, *_ = ctx.needs_input_grad
        flat = gradient.reshape(-1, gradient.shape[-1])
        to_inputs = layer_product(ctx.fast, gradient, ctx.whole.T) if needs_inputs else None
        to_rows = None
        if needs_rows:
            own = flat.index_select(1, rows)
            to_rows = layer_product(ctx.fast, own.T, inputs.reshape(-1, inputs.shape[-1]).T).to(ctx.rows_type)
        to_bias = flat.sum(0) if needs_bias else None
        return to_inputs, to_rows, None, to_bias, None, None


class _ColumnsTunedLinear(torch.autograd.Function):
    """y = x W^T + b with dL/dW computed only for the chosen columns: g^T x[:, columns].

    Of the inputs only those columns are kept; `whole` is kept as in `_RowsTunedLinear`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        inputs: Tensor,
        weight_columns: Tensor,
        whole: Tensor,
        bias: Tensor | None,
        columns: Tensor,
        fast: bool,
    ) -> Tensor:
        ctx.save_for_backward(inputs.reshape(-1, inputs.shape[-1]).index_select(1, columns))
        ctx.whole, ctx.columns_type, ctx.fast = whole, weight_columns.dtype, fast
        return layer_product(fast, inputs, whole, bias)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        gradient = grad_outputs[0].contiguous()
        (own,) = ctx.saved_tensors
        needs_inputs, needs_columns, *_ = ctx.needs_input_grad
        flat = gradient.reshape(-1, gradient.shape[-1])
        to_inputs = layer_product(ctx.fast, gradient, ctx.whole.T) if needs_inputs else None
        to_columns = layer_product(ctx.fast, flat.T, own.T).to(ctx.columns_type) if needs_columns else None
        return to_inputs, to_columns, None, None, None, None
