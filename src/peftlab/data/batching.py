"""Which examples share a batch, and in which order they come."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle, islice
from typing import Literal

import torch
from torch.utils.data import Sampler

from peftlab.streams import Stream, seed_of

MEGABATCH = 50


class LengthGroupedBatches(Sampler[list[int]]):
    """Batches of training examples, drawn anew each epoch; every example once an epoch, the last batch short.

    With `grouped`, all examples are shuffled, cut into megabatches of 50 batches, sorted by length inside each,
    cut into batches, and the batches shuffled: like lengths share a batch, which saves pads, while which examples
    meet stays random. Without it, a plain shuffle. The order depends on seed and epoch alone. In a distributed run
    each rank gets its share of every batch, so that the batch size means the same on any number of devices.

    Args:
        lengths: tokens of each example.
        batch_size: examples in a batch.
        seed: together with the epoch, seeds the draw.
        grouped: batch by length.
        begin: an epoch and a batch, counted from 0: a run that was interrupted has trained on those before it.
        fixed: every epoch is the first, batch for batch.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        grouped: bool,
        begin: tuple[int, int] = (0, 0),
        fixed: bool = False,
    ) -> None:
        self._lengths = torch.tensor(lengths)
        self.batch_size = batch_size
        self._seed = seed
        self._grouped, self._fixed = grouped, fixed
        self._begin = begin
        self._epoch = begin[0]

    @property
    def sampler(self) -> "LengthGroupedBatches":
        """Return itself: Lightning calls `set_epoch` on a batch sampler's `sampler`, never on the batch sampler."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; the trainer calls this."""
        self._epoch = epoch

    def __len__(self) -> int:
        return -(-len(self._lengths) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        epoch = 0 if self._fixed else self._epoch
        generator = torch.Generator().manual_seed(seed_of(Stream.BATCHES, self._seed, epoch))
        order = torch.randperm(len(self._lengths), generator=generator)
        if self._grouped:
            pieces = order.split(MEGABATCH * self.batch_size)
            order = torch.cat([piece[self._lengths[piece].argsort(descending=True, stable=True)] for piece in pieces])
        batches = order.split(self.batch_size)
        rank, ranks = _place()
        # Another loader of the same run, made for a later epoch, begins that one at its start.
        taken = self._begin[1] if self._epoch == self._begin[0] else 0
        for position in torch.randperm(len(batches), generator=generator).tolist()[taken:]:
            batch: list[int] = batches[position].tolist()
            # A rank without an example would leave the others waiting.
            yield batch[rank::ranks] or batch[:1]


def _place() -> tuple[int, int]:
    """Return this process's rank and the number of ranks."""
    if not torch.distributed.is_initialized():
        return 0, 1
    return torch.distributed.get_rank(), torch.distributed.get_world_size()


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Return the examples' numbers, the longest first: for evaluation, where order does not matter but pads do."""
    return sorted(range(len(lengths)), key=lambda index: -lengths[index])


def evaluation_batches(lengths: Sequence[int], size: int, limit: int | float = 1.0) -> list[list[int]]:
    """Return batches of all examples, the longest first; those up to `limit` are a sample, the same in every run.

    Args:
        lengths: tokens of each example.
        size: examples in a batch.
        limit: how many of the batches will be asked for, from the first on: a number, or a share up to 1.0.
    """
    batches = -(-len(lengths) // size)
    used = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    if used in (0, batches):
        return list(cut(longest_first(lengths), size))
    generator = torch.Generator().manual_seed(seed_of(Stream.EVALUATED, 0))
    order = torch.randperm(len(lengths), generator=generator).tolist()
    chosen = set(order[: used * size])
    ordered = longest_first(lengths)
    return [
        *cut((index for index in ordered if index in chosen), size),
        *cut((index for index in ordered if index not in chosen), size),
    ]


def shortest_first(lengths: Sequence[int]) -> list[int]:
    """Return the examples' numbers, the shortest first."""
    return sorted(range(len(lengths)), key=lambda index: lengths[index])


def over_and_over(lengths: Sequence[int]) -> Iterator[int]:
    """Yield the examples' numbers as they stand, and again, without end."""
    return cycle(range(len(lengths)))


Order = Literal["given", "shortest", "longest", "endless"]
ORDERS: dict[Order, Callable[[Sequence[int]], Iterable[int]]] = {
    "given": lambda lengths: range(len(lengths)),
    "shortest": shortest_first,
    "longest": longest_first,
    "endless": over_and_over,
}


def cut(numbers: Iterable[int], size: int) -> Iterator[list[int]]:
    """Yield `size` of the numbers at a time, the last time what is left."""
    remaining = iter(numbers)
    while part := list(islice(remaining, size)):
        yield part
