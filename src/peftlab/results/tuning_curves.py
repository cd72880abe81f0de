"""Which strategy is ahead at which budget of trials, as far as the bands of their tuning curves tell.

All bands hold together in 95 % of searches: each of m strategies has its band at 1 - 0.05 / m (Bonferroni). So has
every statement on two of them: a strategy is ahead at a budget where its band lies wholly above the other's.
"""

import math
from dataclasses import dataclass
from itertools import groupby

from peftlab.results.best_of import Best, median_best, trials_needed
from peftlab.results.pairs import ALPHA
from peftlab.results.scores import Scale
from peftlab.results.trials import Trials

BUDGETS = (1, 2, 3, 5, 10, 20, 50)  # trials; what tables show
BOUND = "* the bound of the metric: the trials set no limit"
GRID = (
    "The rates are a grid and no random draws: curve and band read them as draws from a distribution around it. "
    "search.draw=log-uniform draws them."
)


@dataclass(frozen=True)
class TuningCurves:
    """The median best of 1, 2, ... `most` trials of each strategy, best first, in scores of `scale`.

    `level` is that of each band; `left_out` says whose trials make no curve, and why.
    """

    curves: dict[str, list[Best]]
    most: int
    level: float
    scale: Scale
    bounds: tuple[float, float]
    drawn: bool
    left_out: dict[str, str]

    @property
    def budgets(self) -> list[int]:
        """The numbers of trials that a table shows: as many as were made at most."""
        return [budget for budget in BUDGETS if budget <= self.most]

    def at(self, row: str, budget: int) -> Best:
        """Return the best of so many trials of a strategy."""
        return self.curves[row][budget - 1]

    def text(self, row: str, budget: int) -> str:
        """Return the median and its band, for example ``82.1 [79.4, 100*]``: the star marks a bound of the metric."""
        best = self.at(row, budget)
        return f"{self.scale.text(best.median)} [{', '.join(map(self._end, sorted((best.low, best.high))))}]"

    def ahead(self, budget: int) -> dict[str, list[str]]:
        """Return over which other strategies each is ahead at a budget; those that are ahead of none are absent."""
        found = {
            row: [
                other
                for other in self.curves
                if self.scale.gain(self.at(row, budget).low, self.at(other, budget).high) > 0
            ]
            for row in self.curves
        }
        return {row: others for row, others in found.items() if others}

    def sentences(self) -> list[str]:
        """Say which strategy is ahead at which budget, where no band has an upper end, and what the rates are."""
        said = []
        for ahead, budgets in groupby(self.budgets, self.ahead):
            words = [f"{row} is ahead of {', '.join(others)}" for row, others in ahead.items()]
            if sum(map(len, ahead.values())) < math.comb(len(self.curves), 2):
                words.append("the others are not told apart" if ahead else "no two are told apart")
            said.append(f"Best of {_listed([*budgets])}: {'; '.join(words)}.")
        said = said if len(self.curves) > 1 else []
        return [*said, *self._unlimited(), *([] if self.drawn else [GRID])]

    def absent(self) -> list[str]:
        """Say which strategies have no curve, and why."""
        return [f"{row} has no curve: {why}." for row, why in sorted(self.left_out.items())]

    def _unlimited(self) -> list[str]:
        open_at = [
            budget
            for budget in self.budgets
            if all(self.at(row, budget).high == self._best_bound for row in self.curves)
        ]
        needed = trials_needed(open_at[0], self.level) if open_at else 0
        if needed <= self.most:  # a score that is as good as can be may limit nothing either
            return []
        where = f"reaches {self._bound_in_words} for the best of {_listed(open_at)}"
        return [
            f"With {self.most} trials every band {where}: a limit of the best of {open_at[0]} needs {needed} trials."
        ]

    @property
    def _best_bound(self) -> float:
        return self.bounds[0] if self.scale.lower_is_better else self.bounds[1]

    @property
    def _bound_in_words(self) -> str:
        known = math.isfinite(self._best_bound)
        return f"the metric's bound, {self._best_bound:g}," if known else "as far as the metric does"

    def _end(self, score: float) -> str:
        if score in self.bounds:
            return f"{score:g}*" if math.isfinite(score) else "no limit"
        return self.scale.text(score)


def tuning_curves(trials: Trials) -> TuningCurves | None:
    """Return the curves of the strategies that have all of their trials, two at least; None where none has."""
    scores = {
        row: [trial.mean for trial in found if trial.mean is not None]
        for row, found in trials.of.items()
        if row not in trials.incomplete
    }
    scores = {row: found for row, found in scores.items() if len(found) > 1}
    if not scores:
        return None
    sign = -1.0 if trials.scale.lower_is_better else 1.0
    low, high = sorted(sign * bound for bound in trials.bounds)
    most, level = max(map(len, scores.values())), 1 - ALPHA / len(scores)
    curves = {}
    for row, found in scores.items():
        curve = median_best([sign * score for score in found], (low, high), range(1, most + 1), level)
        curves[row] = [Best(of.trials, sign * of.median, sign * of.low, sign * of.high) for of in curve]
    best_first = dict(sorted(curves.items(), key=lambda item: (trials.scale.order(item[1][-1].median), item[0])))
    return TuningCurves(best_first, most, level, trials.scale, trials.bounds, trials.drawn, trials.incomplete)


def _listed(budgets: list[int]) -> str:
    """Return numbers of trials as words, for example ``1, 2 and 3 trials``."""
    *first, last = map(str, budgets)
    return f"{', '.join(first)}{' and ' if first else ''}{last} trial{'s' if budgets != [1] else ''}"
