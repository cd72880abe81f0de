"""The searches of learning rates among the records: a tuning curve a strategy, block by block."""

from collections import defaultdict
from dataclasses import dataclass, replace

from peftlab.errors import UserError
from peftlab.report.study import Study
from peftlab.report.tables import Entry, Table
from peftlab.results.aggregate import Block
from peftlab.results.record import RunRecord
from peftlab.results.trials import RATE, TaskSeed, Trials, holdout_of, rate_of, trials_of
from peftlab.results.tuning_curves import BOUND, TuningCurves, tuning_curves

RUNS = "runs of a search with two trials of a strategy or more (experiment=search)"


@dataclass(frozen=True)
class Search:
    """The search of one block: its trials and their tuning curves by the method's label, or the `reason` for none."""

    block: Block
    trials: Trials | None
    curves: TuningCurves | None
    reason: str = ""

    @property
    def notes(self) -> list[str]:
        """What the curves tell, whose are missing, and how many trials of each hold runs that were lost."""
        if self.trials is None or self.curves is None:
            return [self.reason]
        lost = {label: [trial for trial in self.trials.of[label] if trial.lost] for label in self.curves.curves}
        told = [
            f"{label}: in {len(of)} of {len(self.trials.of[label])} trials runs collapsed or failed; they count."
            for label, of in lost.items()
            if of
        ]
        return [*self.curves.sentences(), *told, *self.curves.absent()]


def searches(study: Study) -> list[Search]:
    """Return the search of each block that has runs of one, whatever came of it."""
    return [search for block in study.blocks if (search := _search(study, block))]


def tables(study: Study) -> list[Table]:
    """Return for each search with curves the median best of some numbers of trials, with its band."""
    return [_table(search, search.curves) for search in searches(study) if search.curves]


def _search(study: Study, block: Block) -> Search | None:
    by_rate: dict[str, dict[float, dict[TaskSeed, RunRecord]]] = defaultdict(lambda: defaultdict(dict))
    for cell in study.of(block):
        of = replace(cell.method, options=tuple(option for option in cell.method.options if option[0] != RATE))
        for run in cell.runs:
            rate = rate_of(run)
            if run.config.get("search") and holdout_of(run) and rate is not None:
                by_rate[of.label][rate][cell.setting.task, run.seed] = run
    if not by_rate:
        return None
    try:
        trials = trials_of(by_rate)
    except UserError as error:
        return Search(block, None, None, str(error))
    return Search(block, trials, tuning_curves(trials), "no strategy has two trials that are all there")


def _table(search: Search, curves: TuningCurves) -> Table:
    rows = [(label, [Entry(text=curves.text(label, budget)) for budget in curves.budgets]) for label in curves.curves]
    header = [(f"best of {budget}", "") for budget in curves.budgets]
    note = f"Median best of so many trials, with its band; all bands hold together in 95 % of searches. {BOUND}."
    return Table("tuning", f"Tuning · {search.block.title}", header, rows, [note, *search.notes])
