"""The questions that a reader has of two methods: is one ahead, are they equal in practice, or is it not known?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from peftlab.report.comparisons import Comparison, ComparisonFamily
from peftlab.report.inference import holm
from peftlab.report.practical import (
    Posterior,
    equivalence,
    improvement,
    improvement_interval,
    interquartile_interval,
    interquartile_mean,
    signed_rank_posterior,
    student_posterior,
)
from peftlab.report.study import Study
from peftlab.results.aggregate import Block, Cell, Method, mean
from peftlab.results.pairs import ALPHA
from peftlab.results.scores import Scale, common_scale, percent

KINDS = ("ahead", "behind", "practically equal", "not known")
ROPES = (0.5, 1.0)  # points
SURE = 0.95  # of a posterior's probability: Benavoli et al. 2017 decide by it
# Tasks: the signed-rank test takes them as its sample, and of fewer the prior decides.
FEWEST_TASKS = 3


@dataclass(frozen=True)
class Equality:
    """Whether the lead and the other are equal within `rope` points.

    `p_holm` is that of two one-sided tests, adjusted over the family; `posterior` the Student's on these tasks, and
    `over_tasks` the signed-rank test's, which takes tasks as the sample: None for fewer than `FEWEST_TASKS`.
    """

    rope: float
    p_holm: float | None
    posterior: Posterior | None
    over_tasks: Posterior | None

    @property
    def shown(self) -> bool:
        """Whether the tests show equality at 5 %."""
        return self.p_holm is not None and self.p_holm < ALPHA


@dataclass(frozen=True)
class Answer:
    """What is known of the lead against `other`, on `tasks`.

    `mean` is the lead's gain with its 95 % t `interval`; `equalities` are there for shares alone, of which half a point
    is the same on each task; `improvement` is the probability that a run of the lead scores higher than one of the
    other's, with its bootstrap interval. `same`: every pair has the same score twice, of which no test says anything.
    """

    other: Method
    tasks: tuple[str, ...]
    scale: Scale
    pairs: int
    mean: float
    interval: tuple[float, float] | None
    stands: bool
    equalities: tuple[Equality, ...]
    improvement: float
    improvement_interval: tuple[float, float] | None
    same: bool = False

    @property
    def kind(self) -> str:
        """One of `KINDS`, by the tests: of two that differ by less than a point, which is ahead is said first."""
        if self.stands:
            return "ahead" if self.mean > 0 else "behind"
        return "practically equal" if any(equality.shown for equality in self.equalities) else "not known"

    @property
    def word(self) -> str:
        """The answer in a few words."""
        within = next((f", {_within(equality.rope)}" for equality in self.equalities if equality.shown), "")
        return self.kind + (self._leaning if self.kind == "not known" else within)

    @property
    def _leaning(self) -> str:
        """What the posterior is sure of where no test is: it is not adjusted for the number of comparisons."""
        if self.same:
            return f"; the same score in all {self.pairs} pairs"
        for equality in self.equalities:
            if (p := equality.posterior) is None:
                continue
            beyond = f"by more than {_points(equality.rope)}"
            said = {f"ahead {beyond}": p.ahead, f"behind {beyond}": p.behind, _within(equality.rope): p.equal}
            for words, probability in said.items():
                if probability >= SURE:
                    return f"; probably {words} ({_percent(probability)})"
        return ""


@dataclass(frozen=True)
class Middle:
    """A method's interquartile mean over a block's tasks, on `scale`, with its bootstrap interval."""

    method: Method
    scale: Scale
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Questions:
    """A block's answers, over its tasks or on each: `lead` (the reference where it is `named`) against every other.

    `tests` is the size of the family that p-values are adjusted over; `middles` are there over tasks.
    """

    block: Block
    over_tasks: bool
    lead: Method
    named: bool
    tests: int
    answers: tuple[Answer, ...]
    middles: tuple[Middle, ...] = ()

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How many of the others each kind of answer holds for, the known ones first."""
        kinds = Counter(answer.kind for answer in self.answers)
        return [(kind, kinds[kind]) for kind in KINDS if kinds[kind]]


def ask(study: Study, families: Sequence[ComparisonFamily], reference: str | None = None) -> list[Questions]:
    """Return the answers of each block, those over tasks first.

    With a `reference` it is the lead; else the method with the largest gains over the others.
    """
    found = []
    for family in sorted(families, key=lambda family: (study.blocks.index(family.block), not family.over_tasks)):
        lead = _lead(study, family, reference)
        if lead is None:
            continue
        answers = tuple(_answers(study, family, lead))
        middles = tuple(_middles(study, family.block)) if family.over_tasks else ()
        named, tests = reference is not None, len(family.tested)
        found.append(Questions(family.block, family.over_tasks, lead, named, tests, answers, middles))
    return found


def csv_rows(questions: Sequence[Questions]) -> list[list[object]]:
    """Return a header and a row for each answer."""
    names = [f"{name}_{rope:g}" for rope in ROPES for name in ("p_equal", "behind", "equal", "ahead")]
    names += [f"{name}_over_tasks_{rope:g}" for rope in ROPES for name in ("behind", "equal", "ahead")]
    header = ["setting", "family", "tasks", "first", "second", "pairs", "mean", "low", "high"]
    rows: list[list[object]] = [[*header, "improvement", "improvement_low", "improvement_high", *names, "answer"]]
    for of in questions:
        family = "over tasks" if of.over_tasks else "each task"
        for a in of.answers:
            equalities = {equality.rope: equality for equality in a.equalities}
            here = [equalities.get(rope) for rope in ROPES]
            student = [value for e in here for value in (e and e.p_holm, *_three(e.posterior if e else None))]
            ranks = [value for e in here for value in _three(e.over_tasks if e else None)]
            place = [of.block.title, family, " ".join(a.tasks), of.lead.label, a.other.label, a.pairs]
            numbers = [a.mean, *(a.interval or (None, None)), a.improvement, *(a.improvement_interval or (None, None))]
            rows.append([*place, *numbers, *student, *ranks, a.word])
    return rows


def _lead(study: Study, family: ComparisonFamily, reference: str | None) -> Method | None:
    """Return the method that the others are asked about; None where nothing is tested.

    Of the variants of a reference, or of all methods, that with most tasks and the largest sum of gains.
    """
    gains: dict[Method, float] = {}
    for c in family.tested:
        for method, gain in ((c.first, c.result.mean), (c.second, -c.result.mean)):
            gains[method] = gains.get(method, 0.0) + gain
    named = [method for method in gains if reference in (None, method.label, method.strategy)]
    tasks = Counter(cell.method for cell in study.of(family.block) if cell.scores)
    return min(named, key=lambda method: (-tasks[method], -gains[method], method.label), default=None)


def _answers(study: Study, family: ComparisonFamily, lead: Method) -> list[Answer]:
    tested = family.tested
    adjusted = {rope: holm([_p_equal(c, rope) for c in tested]) for rope in ROPES}
    cells = {(cell.method, cell.setting.task): cell for cell in study.of(family.block)}
    found = []
    for place, comparison in enumerate(tested):
        if lead in (comparison.first, comparison.second):
            p_holm = {rope: adjusted[rope][place] for rope in ROPES}
            found.append(_answer(comparison, lead, p_holm, cells))
    return found


def _answer(
    c: Comparison, lead: Method, p_holm: dict[float, float | None], cells: dict[tuple[Method, str], Cell]
) -> Answer:
    other, sign = (c.second, 1.0) if c.first == lead else (c.first, -1.0)
    gains = [[sign * value for value in stratum] for stratum in c.gains]
    tasks = [mean(stratum) or 0.0 for stratum in gains]
    equalities = tuple(
        Equality(
            rope,
            p_holm[rope],
            student_posterior(gains, rope),
            signed_rank_posterior(tasks, rope) if len(tasks) >= FEWEST_TASKS else None,
        )
        for rope in ROPES
        if c.scale.unit == "%"
    )
    # Of scores of which the lower is the better, the higher gain.
    ours, theirs = ([_gains(cells[method, task]) for task in c.tasks] for method in (lead, other))
    interval = c.result.interval
    if interval is not None and sign < 0:
        interval = -interval[1], -interval[0]
    return Answer(
        other,
        c.tasks,
        c.scale,
        c.result.n,
        sign * c.result.mean,
        interval,
        c.stands,
        equalities,
        improvement(ours, theirs),
        improvement_interval(ours, theirs),
        same=not any(value for stratum in gains for value in stratum),
    )


def _middles(study: Study, block: Block) -> list[Middle]:
    """Return the interquartile means of the methods that have a score on every task, best first."""
    cells: dict[Method, list[Cell]] = {}
    for cell in study.of(block):
        if cell.scores:
            cells.setdefault(cell.method, []).append(cell)
    scale = common_scale(cell.scale for of in cells.values() for cell in of)
    if scale is None:
        return []
    tasks = len(study.tasks(block))
    runs = {m: [list(cell.scores.values()) for cell in of] for m, of in cells.items() if len(of) == tasks}
    found = [Middle(m, scale, interquartile_mean(of), interquartile_interval(of)) for m, of in runs.items()]
    return sorted(found, key=lambda middle: scale.order(middle.value))


def _gains(cell: Cell) -> list[float]:
    return [cell.scale.gain(score, 0.0) for score in cell.scores.values()]


def _p_equal(comparison: Comparison, rope: float) -> float | None:
    return equivalence(comparison.gains, rope) if comparison.scale.unit == "%" else None


def _three(posterior: Posterior | None) -> tuple[float | None, ...]:
    return (None,) * 3 if posterior is None else (posterior.behind, posterior.equal, posterior.ahead)


def _points(rope: float) -> str:
    return "half a point" if rope == 0.5 else "a point" if rope == 1 else f"{rope:g} points"


def _within(rope: float) -> str:
    return f"within {_points(rope)}"


def _percent(probability: float) -> str:
    return f"{min(percent(probability), 99.9):.3g} %"
