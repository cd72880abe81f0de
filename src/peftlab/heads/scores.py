"""What was measured of all heads: the form in which scores go from a backbone to a ranking."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

# Beside HiFi's own: each has a word of `strategy.score`, and all read labels.
MEASURES = ("gradient", "fisher", "shift")


@dataclass(frozen=True, eq=False)
class HeadScores:
    """Means over `examples` examples: richness [L, H] (Eq. 3) and correlation [L, H, H] (Eq. 7).

    sequences, None for as many as examples: what the model read of them, such as windows or choices.
    spectrum [L, H, D'], None in older files: the share that the largest 1, 2, ... singular values have in their sum.
    measured [L, H] each, by a name of `MEASURES`: those that were asked for.
    """

    richness: Tensor
    correlation: Tensor
    examples: int
    spectrum: Tensor | None = None
    sequences: int | None = None
    measured: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """How many examples were scored, and how many sequences where they were several each."""
        several = self.sequences is not None and self.sequences != self.examples
        return {"examples": self.examples, **({"sequences": self.sequences or 0} if several else {})}
