"""The one aggregation over seeds: runs that differ only in the seed become a cell, which all else reads."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from peftlab.errors import shown
from peftlab.results.record import Deployment, RunRecord
from peftlab.results.scores import PERCENT, Scale, percent
from peftlab.results.settings import comparable

# The order of the paper's tables; tasks that it does not have follow by name.
TASK_NAMES = {
    "qnli": "QNLI",
    "sst2": "SST-2",
    "mnli": "MNLI",
    "cola": "CoLA",
    "mrpc": "MRPC",
    "stsb": "STS-B",
    "rte": "RTE",
    "qqp": "QQP",
}
BALANCED = "balanced_accuracy"
Split = Literal["test", "validation"]
Options = tuple[tuple[str, str], ...]
_LONGEST_VALUE = 120  # characters of an option's value in a method's name


@dataclass(frozen=True)
class Block:
    """What scores of different tasks must share to stand in one table.

    Runs that evaluated only some batches are `partial`: they are compared with one another alone. Where conditions are
    taken `together`, each is a task of its own, and the backbone and the shots stand in its name.
    """

    backbone: str
    shots: int | None
    holdout: float | None = None
    partial: bool = False
    together: bool = False

    @property
    def title(self) -> str:
        """For example ``minilm · 16 shots``."""
        if self.together:
            return self.backbone
        data = "full data" if self.shots is None else f"{self.shots} shots"
        held = f" · {percent(self.holdout):g} % held out" if self.holdout else ""
        return f"{self.backbone} · {data}{held}{' · evaluated in part' if self.partial else ''}"


@dataclass(frozen=True)
class Setting:
    """What scores must share to be compared: the task, and all that the block holds."""

    task: str
    block: Block

    @property
    def title(self) -> str:
        """For example ``RTE · minilm · 16 shots``."""
        return f"{task_name(self.task)} · {self.block.title}"


@dataclass(frozen=True)
class Method:
    """A strategy with those of its options that vary, by their dotted names.

    `varied` are the options that vary between any of the strategy's runs; they decide how far a name must be spelt out.
    """

    strategy: str
    options: Options = ()
    varied: frozenset[str] = field(default=frozenset(), compare=False, repr=False)

    @property
    def label(self) -> str:
        """For example ``hifi k=3 teleport=uniform``."""
        return f"{self.strategy} {self.details}".strip()

    @property
    def details(self) -> str:
        """The options alone, for example ``k=3 teleport=uniform``."""
        return " ".join(f"{shown(self.short(key))}={shown(value, _LONGEST_VALUE)}" for key, value in self.options)

    def short(self, key: str) -> str:
        """Return the last part of a dotted option, or all of it where the last part alone is ambiguous."""
        last = key.rpartition(".")[2]
        among = self.varied | {name for name, _ in self.options}
        return last if sum(other.rpartition(".")[2] == last for other in among) == 1 else key


@dataclass(frozen=True, eq=False)  # a cell is itself: records cannot be hashed
class Cell:
    """One method in one setting: its runs, one a seed, and their scores on `split`, as a reader sees them.

    `repeated` counts the runs that were left out because their seed ran again.
    """

    setting: Setting
    method: Method
    split: Split
    runs: tuple[RunRecord, ...]
    repeated: int

    @cached_property
    def finished(self) -> list[RunRecord]:
        """The runs that came to their end."""
        return [run for run in self.runs if run.status == "finished"]

    @cached_property
    def scale(self) -> Scale:
        """The scale of the task's primary metric."""
        return next((Scale.of(run.metric) for run in self.runs if run.metric), PERCENT)

    @property
    def metric(self) -> str | None:
        """The name of the task's primary metric; None where no run has one."""
        return self.scale.metric

    @cached_property
    def scores(self) -> dict[int, float]:
        """The score of each seed that gave a number, collapsed runs among them."""
        found = {run.seed: getattr(run.metric, self.split) for run in self.finished if run.metric}
        return self._scores(found)

    def further(self, key: str) -> dict[int, float]:
        """Return another metric of the primary one's scale by seed: `key` is ``split/metric``."""
        return self._scores({run.seed: run.metric.further.get(key) for run in self.finished if run.metric})

    @cached_property
    def balanced(self) -> dict[int, float]:
        """Balanced accuracy by seed, which no constant answer meets; empty where it is the score itself."""
        return self.further(f"{self.split}/{BALANCED}") if self.metric != BALANCED else {}

    @property
    def constant(self) -> float | None:
        """The best score that one answer to everything has on the same examples; None where no run says it."""
        values = [run.metric.constant for run in self.finished if run.metric and run.metric.constant is not None]
        return self.scale.score(statistics.fmean(values)) if values else None

    def _scores(self, values: dict[int, float | None]) -> dict[int, float]:
        return {seed: self.scale.score(value) for seed, value in values.items() if value is not None}

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that gave a number."""
        return tuple(self.scores)

    @cached_property
    def mean(self) -> float | None:
        """Mean score over seeds; None where no seed gave a number."""
        return mean(self.scores.values())

    @property
    def std(self) -> float | None:
        """Sample standard deviation of the scores over seeds (n - 1); None for one seed."""
        return deviation(self.scores.values())

    @property
    def collapsed(self) -> list[int]:
        """The seeds whose run gives one answer to everything."""
        return [run.seed for run in self.finished if run.collapsed]

    @property
    def doubts(self) -> dict[str, dict[int, str]]:
        """What makes scores doubtful, by its kind: the seeds, each with the sentence."""
        found: dict[str, dict[int, str]] = defaultdict(dict)
        for run in self.finished:
            for kind, reason in run.doubts.items():
                found[kind][run.seed] = reason
        return dict(found)

    @property
    def skipped(self) -> dict[int, str]:
        """The seeds that were skipped because the method does not fit, each with the reason."""
        return {run.seed: why(run) for run in self.runs if run.status == "skipped"}

    @property
    def skip_reasons(self) -> list[str]:
        """Why seeds were skipped, each reason once."""
        return list(dict.fromkeys(self.skipped.values()))

    @property
    def missing(self) -> list[tuple[int, str]]:
        """The seeds that should have a score and have none, each with the reason; skipped ones are not among them."""
        return [(run.seed, why(run)) for run in self.runs if run.seed not in self.scores and run.status != "skipped"]

    @property
    def expected(self) -> int:
        """How many seeds should have a score."""
        return len(self.runs) - len(self.skipped)

    @property
    def tuned(self) -> float | None:
        """Mean number of tuned parameters, without the classifier."""
        return mean(run.parameters.tuned for run in self.finished if run.parameters)

    @property
    def share(self) -> float | None:
        """Mean of `tuned` in percent of all parameters."""
        counts = [run.parameters for run in self.finished if run.parameters]
        return mean(percent(count.tuned, count.total) for count in counts)

    @property
    def delta_bytes(self) -> float | None:
        """Mean size of the saved delta in bytes."""
        return mean(run.delta.bytes for run in self.finished if run.delta)

    @property
    def training_seconds(self) -> float | None:
        """Mean time of training in seconds."""
        return mean(run.seconds.training for run in self.finished)

    @property
    def peak_bytes(self) -> int | None:
        """The largest peak of memory in bytes."""
        return max((run.memory.peak_bytes or 0 for run in self.finished if run.memory), default=0) or None

    @property
    def deployments(self) -> list[Deployment]:
        """What the runs measured of the deployed model."""
        return [run.deployment for run in self.finished if run.deployment]


def aggregate(
    records: Iterable[RunRecord],
    setting_of: Callable[[RunRecord], Setting],
    named_together: Callable[[Setting], Hashable] = lambda setting: setting,
    swept: Collection[str] = (),
) -> list[Cell]:
    """Return one cell for each group of runs that differ only in the seed, in the order of their first runs.

    A run that was repeated counts once: the latest that finished, else the latest. Takes time linear in the records.

    Args:
        records: in any order.
        setting_of: says which runs can be compared.
        named_together: what settings share in which an option that varies in one of them names the method in all.
        swept: options that name a method though they vary in none of the runs that are there yet.
    """
    families: dict[tuple[Setting, str], list[tuple[RunRecord, dict[str, str]]]] = defaultdict(list)
    tested: set[Setting] = set()
    for record in records:
        setting = setting_of(record)
        families[setting, record.strategy].append((record, comparable(record.config)))
        if record.metric and record.metric.test is not None:
            tested.add(setting)
    varied: dict[tuple[Hashable, str], set[str]] = defaultdict(set)
    for (setting, strategy), family in families.items():
        configs = [config for _, config in family]
        varied[named_together(setting), strategy] |= _varying(configs) | {key for key in swept if key in configs[0]}
    cells = []
    for (setting, strategy), family in families.items():
        # A few-shot run chooses its best epoch on `validation`, so only `test` is unseen: never mix the two.
        split: Split = "test" if setting in tested else "validation"
        keys = frozenset(varied[named_together(setting), strategy])
        for options, group in _groups(family, keys).items():
            runs = tuple(one_a_seed(group))
            cells.append(Cell(setting, Method(strategy, options, keys), split, runs, len(group) - len(runs)))
    return cells


def _varying(configs: list[dict[str, str]]) -> set[str]:
    """Return the settings that differ between configurations; one that some do not have differs."""
    values: dict[str, set[str]] = defaultdict(set)
    holders: dict[str, int] = defaultdict(int)
    for config in configs:
        for key, value in config.items():
            values[key].add(value)
            holders[key] += 1
    return {key for key, found in values.items() if len(found) > 1 or holders[key] < len(configs)}


def _groups(family: list[tuple[RunRecord, dict[str, str]]], keys: frozenset[str]) -> dict[Options, list[RunRecord]]:
    groups: dict[Options, list[RunRecord]] = defaultdict(list)
    for record, config in family:
        groups[tuple((key, config[key]) for key in sorted(keys & config.keys()))].append(record)
    return groups


def one_a_seed(group: Iterable[RunRecord]) -> list[RunRecord]:
    """Return one run of each seed, by seed: of repeated runs the latest that finished, else the latest."""
    latest: dict[int, RunRecord] = {}
    for record in sorted(group, key=lambda r: (r.status == "finished", r.started or "")):
        latest[record.seed] = record
    return [latest[seed] for seed in sorted(latest)]


def task_name(task: str) -> str:
    """Return a task's name as the paper writes it."""
    return TASK_NAMES.get(task, task)


def why(run: RunRecord) -> str:
    """Return in a few words why a run has no score."""
    if run.status == "finished":
        nameless = f"its {run.metric.name if run.metric else 'metric'} is not a number"
        return f"finished, but {run.doubts.get('undefined', nameless)}"
    if run.status == "running":
        return "has not finished: it is still running, or was killed"
    return f"{run.status}: {shown(run.reason or 'no reason was given')}"


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are known; None where none is."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def deviation(values: Iterable[float]) -> float | None:
    """Return the sample standard deviation (n - 1); None for fewer than two values."""
    known = list(values)
    return statistics.stdev(known) if len(known) > 1 else None
