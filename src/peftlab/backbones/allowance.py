"""A bound on what is built on a stranger's word: sizes in a file may ask for more memory or time than there is."""

from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from peftlab.errors import UserError

_MAKERS = {torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full, torch.eye, torch.arange}
_MOST_TENSORS = 100_000


class Allowance(TorchFunctionMode):
    """Inside, new tensors may hold `numbers` numbers altogether, and be 100,000.

    Raises:
        UserError: before more is taken, naming `what`.
    """

    def __init__(self, numbers: int, what: str) -> None:
        super().__init__()
        self._left, self._tensors, self._what, self._numbers = numbers, _MOST_TENSORS, what, numbers

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Count what a factory of torch is about to make."""
        if func in _MAKERS:
            self._left -= _size(args, kwargs or {})
            self._tensors -= 1
            if self._left < 0 or self._tensors < 0:
                raise UserError(f"{self._what}: its options ask for tensors beyond {self._numbers:,} numbers")
        return func(*args, **(kwargs or {}))


def _size(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    shape = kwargs.get("size", args)
    while len(shape) and isinstance(shape[0], (tuple, list)):
        shape = shape[0]
    whole = [side for side in shape if isinstance(side, int) and not isinstance(side, (bool, Tensor))]
    return prod(map(abs, whole)) if whole else 1
