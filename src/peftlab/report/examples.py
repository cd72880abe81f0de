"""Two methods compared on the examples that both answered, and the examples that methods disagree on.

The seeds of `comparisons` sample what training may give; here examples sample what may be asked, of models that are as
they are. Runs that kept no predictions, and kinds whose answers are not simply right or wrong, have no part in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import special

from peftlab.errors import UserError
from peftlab.report.comparisons import Comparison, ComparisonFamily, paired_seeds
from peftlab.report.study import Study
from peftlab.results.aggregate import Cell, Method, Setting
from peftlab.results.predictions import Answered, Marks, read_marks, read_predictions
from peftlab.results.record import RunRecord
from peftlab.results.scores import percent

RESAMPLED = 10_000
LISTED = 20  # examples of a setting
SETTINGS = 12  # whose examples are listed
COMPARED = 300  # pairs of methods of a study
READ = 1_000  # runs whose predictions are read


@dataclass(frozen=True)
class OnExamples:
    """The gain of `first` over `second` on `n` examples that both answered, in points: right answers times 100.

    Attributes:
        difference: the mean over examples and `seeds`.
        interval: its 95 % percentile interval, examples drawn again with replacement, the models kept.
        alone: for each seed how many examples the first alone has right, and the second alone.
        p: McNemar's exact test of each seed.
    """

    setting: Setting
    first: Method
    second: Method
    n: int
    seeds: tuple[int, ...]
    difference: float
    interval: tuple[float, float]
    alone: tuple[tuple[int, int], ...]
    p: tuple[float, ...]


@dataclass(frozen=True)
class Disputed:
    """An example that some methods get right and others do not, with what the first seed of each answers."""

    name: str
    text: str
    gold: str
    right: tuple[str, ...]
    wrong: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Examples:
    """What a study says of examples; `notes` tell what could not be read, or was left out."""

    compared: tuple[OnExamples, ...] = ()
    disputed: Mapping[str, Sequence[Disputed]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def mcnemar(first_alone: int, second_alone: int) -> float:
    """Return the exact two-sided p that both are right alike often, given how often each alone is right.

    Where they differ, each is as likely to be the right one: p is twice the smaller tail of Binomial(n, 1/2).
    """
    number = first_alone + second_alone
    return min(1.0, 2 * float(special.bdtr(min(first_alone, second_alone), number, 0.5))) if number else 1.0


def bootstrap(gains: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of the mean of gains [N], one an example, drawn again with replacement."""
    values, counts = np.unique(gains, return_counts=True)
    # How often each value is drawn is multinomial: the same as drawing N examples, without doing it one by one.
    generator = np.random.default_rng(0)  # no part of any run: the same report from the same records
    means = generator.multinomial(len(gains), counts / len(gains), size=RESAMPLED) @ values / len(gains)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def on_examples(study: Study, families: Sequence[ComparisonFamily]) -> Examples:
    """Return what the kept predictions of a study's runs say, of the pairs of methods that `families` compare."""
    kept, compared = _MarksOfRuns(), []
    pairs = [(family, c) for family in families if not family.over_tasks for c in family.comparisons]
    for family, comparison in pairs[:COMPARED]:
        setting = Setting(comparison.tasks[0], family.block)
        found = _compared(study, setting, comparison, kept)
        compared += [found] if found is not None else []
    disputed: dict[str, list[Disputed]] = {}
    for setting in dict.fromkeys(one.setting for one in compared):
        if len(disputed) < SETTINGS and (listed := _disputed(study, setting, kept)):
            disputed[setting.title] = listed
    left_out = [f"Compared are the first {COMPARED} of {len(pairs)} pairs."] if len(pairs) > COMPARED else []
    return Examples(tuple(compared), disputed, (*left_out, *kept.notes))


class _MarksOfRuns:
    """The marks of runs, each file read once."""

    def __init__(self) -> None:
        self._found: dict[tuple[int, str], Marks | None] = {}
        self.notes: list[str] = []

    def of(self, run: RunRecord, split: str) -> Marks | None:
        """Return which answers of a run's split are right; None where it kept none, or they cannot be read."""
        key = (id(run), split)
        if key not in self._found:
            self._found[key] = self._read(run, split)
        return self._found[key]

    def _read(self, run: RunRecord, split: str) -> Marks | None:
        if run.predictions is None or run.folder is None:
            return None
        if len(self._found) >= READ:
            self._note(f"The predictions of more than {READ} runs are not read.")
            return None
        try:
            return read_marks(run.folder / run.predictions.file, run.predictions, split)
        except UserError as error:
            self._note(str(error))
            return None

    def _note(self, line: str) -> None:
        if line not in self.notes:
            self.notes.append(line)


def _compared(study: Study, setting: Setting, comparison: Comparison, kept: _MarksOfRuns) -> OnExamples | None:
    cells = {cell.method: cell for cell in study.of(setting)}
    first, second = cells[comparison.first], cells[comparison.second]
    ours, theirs = (_marks(cell, kept) for cell in (first, second))
    seeds = [seed for seed in paired_seeds(first, second) if seed in ours and seed in theirs]
    # Examples that are the same in each run, and stand in the same order.
    seeds = [seed for seed in seeds if ours[seed].examples == theirs[seed].examples == ours[seeds[0]].examples]
    if not seeds:
        return None
    gains = np.stack([ours[seed].right.astype(float) - theirs[seed].right for seed in seeds])
    alone = tuple((int((row > 0).sum()), int((row < 0).sum())) for row in gains)
    means = gains.mean(0)
    low, high = bootstrap(means)
    return OnExamples(
        setting,
        comparison.first,
        comparison.second,
        n=len(means),
        seeds=tuple(seeds),
        difference=percent(float(means.mean())),
        interval=(percent(low), percent(high)),
        alone=alone,
        p=tuple(mcnemar(*one) for one in alone),
    )


def _marks(cell: Cell, kept: _MarksOfRuns) -> dict[int, Marks]:
    found = {run.seed: kept.of(run, cell.split) for run in cell.finished}
    return {seed: marks for seed, marks in found.items() if marks is not None}


def _disputed(study: Study, setting: Setting, kept: _MarksOfRuns) -> list[Disputed]:
    """Return the examples whose share of methods that have them right is nearest to a half."""
    marks = {cell: found for cell in study.of(setting) if (found := _marks(cell, kept))}
    examples = next(iter(next(iter(marks.values())).values())).examples
    same = {cell: [one for one in found.values() if one.examples == examples] for cell, found in marks.items()}
    shares = {cell: np.mean([one.right for one in found], axis=0) for cell, found in same.items() if found}
    spread = np.var(np.stack(list(shares.values())), axis=0)
    places = [int(place) for place in np.argsort(-spread, kind="stable")[:LISTED] if spread[place] > 0]
    answers = {cell: _answers(cell, kept, examples) for cell in shares}
    return [_one(place, {cell: share[place] for cell, share in shares.items()}, answers) for place in places]


def _answers(cell: Cell, kept: _MarksOfRuns, examples: str) -> list[Answered]:
    """Return what a method's first run of these examples answers to each."""
    marks = ((run, kept.of(run, cell.split)) for run in cell.finished)
    run = next(run for run, found in marks if found is not None and found.examples == examples)
    assert run.folder is not None
    assert run.predictions is not None
    return [row for row in read_predictions(run.folder / run.predictions.file) if row.split == cell.split]


def _one(place: int, shares: Mapping[Cell, float], answers: Mapping[Cell, list[Answered]]) -> Disputed:
    row = next(iter(answers.values()))[place]
    right = tuple(cell.method.label for cell, share in shares.items() if share >= 0.5)
    wrong = tuple((cell.method.label, answers[cell][place].answer) for cell, share in shares.items() if share < 0.5)
    return Disputed(row.id or str(row.index), row.text, row.gold, right, wrong)
