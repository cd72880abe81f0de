"""Means over examples, whatever the sizes of the batches that they came in: of losses, and of gradients."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torchmetrics import Metric


class MeanLoss(Metric):
    """The mean of batches' mean losses, each weighted by what it is the mean of.

    Of torchmetrics' own MeanMetric, one that asks nothing of each value (`nan_strategy="disable"`, without which a
    device waits at each step) discards the weights (torchmetrics 1.9).
    """

    full_state_update = False
    total: Tensor
    weight: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "weight"):
            self.add_state(name, default=torch.tensor(0.0), dist_reduce_fx="sum")

    def update(self, loss: Tensor, weight: int | Tensor) -> None:
        """Count a batch whose loss is the mean of `weight` terms."""
        self.total += loss * weight
        self.weight += weight

    def compute(self) -> Tensor:
        """Return the mean; NaN before the first batch."""
        return self.total / self.weight


class MeanGradient:
    """Makes gradients that are added up over several batches the gradient of the mean loss over all their terms.

    After each batch they are that of the batches so far: whoever looks at them when the step comes sees the gradient
    of one batch of all their examples, in the last, short group of an epoch, too.
    """

    def __init__(self) -> None:
        self._before, self._now, self._terms = 0.0, 0.0, 0.0

    def add(self, terms: int | Tensor, begins: bool, mean_of_ranks: Callable[[float], float]) -> None:
        """Count a batch whose loss is the mean of `terms`; `begins` a step's group of batches, and may end it.

        Gradients are later the mean over the ranks' own, so that a rank's terms count against the mean of all ranks'.
        """
        self._before, self._terms = 0.0 if begins else self._now, float(terms)
        self._now = self._before + mean_of_ranks(self._terms)

    def weigh(self, loss: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
        """Return a batch's share in the mean loss so far, and scale the gradients of the batches before to theirs."""
        if self._before:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(self._before / self._now)
        return loss if self._terms == self._now else loss * (self._terms / self._now)
