"""How scores are shown and ranked: the one place that knows what a metric's direction and unit mean.

A *value* is what a record holds (0.853); a *score* is what a reader sees (85.3).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from peftlab.results.record import Better, Metric, Unit

METRIC_NAMES = {
    "accuracy": "Acc.",
    "balanced_accuracy": "Bal. acc.",
    "f1": "F1",
    "macro_f1": "Macro F1",
    "matthews": "Matt.",
    "spearman": "Spea.",
    "pearson": "Pear.",
    "mse": "MSE",
}
CORRELATIONS = {"matthews", "spearman", "pearson"}  # which go down to -1; other fractions end at 0


@dataclass(frozen=True)
class Scale:
    """The scale of one metric's scores: its name, which of two is better, and its unit."""

    metric: str | None = None
    better: Better = "higher"
    unit: Unit = "%"

    @classmethod
    def of(cls, metric: Metric) -> "Scale":
        """Return the scale of a record's metric."""
        return cls(metric.name, metric.better, metric.unit)

    @property
    def lower_is_better(self) -> bool:
        """Whether the lower of two scores is the better one."""
        return self.better == "lower"

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest score that the metric can have; infinite where it has none or none is known."""
        if self.unit == "%":
            return (-100.0 if self.metric in CORRELATIONS else 0.0), 100.0
        return (0.0 if self.metric == "mse" else -math.inf), math.inf

    @property
    def digits(self) -> int:
        """The decimals that a score is printed with."""
        return 1 if self.unit == "%" else 3

    @property
    def tie(self) -> float:
        """The difference below which two scores print alike: half of the last decimal."""
        return 0.5 * 10**-self.digits

    @property
    def factor(self) -> str:
        """What a name adds where scores are shown × 100."""
        return " × 100" if self.unit == "%" else ""

    @property
    def name(self) -> str:
        """The metric with its factor, for example ``accuracy × 100`` or ``mae``."""
        return f"{self.metric or 'score'}{self.factor}"

    @property
    def short_name(self) -> str:
        """The metric's short name with its factor, for example ``Acc. × 100``."""
        return f"{METRIC_NAMES.get(self.metric or '', self.metric or 'score')}{self.factor}"

    @property
    def heading(self) -> str:
        """The metric's short name over a column: ``Acc.``, or ``mae ↓`` where lower is better."""
        metric = self.metric or ""
        return METRIC_NAMES.get(metric, metric) + (" ↓" if self.lower_is_better else "")

    @property
    def remark(self) -> str:
        """What a title adds where lower is better; nothing where higher is, as readers expect."""
        return " (lower is better)" if self.lower_is_better else ""

    def score(self, value: float) -> float:
        """Return what a reader sees of a record's value."""
        return percent(value) if self.unit == "%" else value

    def text(self, score: float, further_digits: int = 0) -> str:
        """Return a score, or a deviation of scores, as text."""
        return f"{score:.{self.digits + further_digits}f}"

    def gain(self, first: float, second: float) -> float:
        """Return by how much the first score is better than the second; negative where it is worse."""
        return second - first if self.lower_is_better else first - second

    def gain_text(self, gain: float) -> str:
        """Return a gain in words, for example ``+10.5 points``; it is named where a reader might take it for a loss."""
        return f"{'gain ' if self.lower_is_better else ''}{'+' if gain >= 0 else ''}{self.size_text(gain)}"

    def size_text(self, difference: float) -> str:
        """Return a difference of scores in words, for example ``10.5 points`` or ``0.105``."""
        return self.text(difference) + (" points" if self.unit == "%" else "")

    def order(self, score: float | None) -> tuple[bool, float]:
        """Return a key that sorts the best score first and None last."""
        return score is None, self.gain(0.0, score or 0.0)

    def best(self, scores: Iterable[float]) -> float:
        """Return the best of several scores."""
        return min(scores, key=self.order)

    def worst(self, scores: Iterable[float]) -> float:
        """Return the worst of several scores."""
        return max(scores, key=self.order)


PERCENT = Scale()  # of a fraction, the higher the better


def common_scale(scales: Iterable[Scale]) -> Scale | None:
    """Return the scale of a mean over several metrics; None where their directions or units differ."""
    found = set(scales)
    if len({(scale.better, scale.unit) for scale in found}) != 1:
        return None
    first = next(iter(found))
    return first if len(found) == 1 else Scale(None, first.better, first.unit)


def percent(part: float, whole: float = 1.0) -> float:
    """Return a part of a whole in percent."""
    return 100 * part / whole
