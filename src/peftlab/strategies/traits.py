"""Facts about a strategy with its options, as data: what it promises, and how far."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Traits:
    """Facts about a strategy with its options; the contract test holds it to them.

    Attributes:
        start_tolerance: how far logits may be from the untouched backbone's after attaching, as a share of its largest.
        merge_tolerance: how far logits may move when merging, as a share of the largest: a sum in another order. None:
            the delta cannot be written into the backbone's own weights.
        compilable: `torch.compile` takes the model as the strategy makes it.
        sparse_gradients: a training step may leave out some of what is tuned, which then has no gradient.
        shardable: between two passes it reads no frozen weights, which may lie in parts on several devices.
        tunes_nothing: it is meant to tune nothing but the classifier.
        prompt_positions: how many of the backbone's positions stand before the text.
    """

    start_tolerance: float = 0.0
    merge_tolerance: float | None = 0.0
    compilable: bool = True
    sparse_gradients: bool = False
    shardable: bool = True
    tunes_nothing: bool = False
    prompt_positions: int = 0

    @property
    def mergeable(self) -> bool:
        """Whether the delta can be written into the backbone's own weights."""
        return self.merge_tolerance is not None
