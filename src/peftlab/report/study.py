"""Records in the order that a comparison needs: settings, the methods tried in each, and what each seed gave."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from peftlab.errors import UserError, require
from peftlab.results.landscapes import FILE_NAME as LANDSCAPE
from peftlab.results.record import FILE_NAME, RunRecord
from peftlab.results.table import comparable, one_a_seed, short, why

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


@dataclass(frozen=True)
class Block:
    """What scores of different tasks must share to stand in one table.

    Runs that evaluated some batches only (`partial`), as those made for their head scores do, compare with one another
    at most.
    """

    backbone: str
    shots: int | None
    holdout: float | None = None
    partial: bool = False

    @property
    def title(self) -> str:
        """For example ``minilm · 16 shots``."""
        data = "full data" if self.shots is None else f"{self.shots} shots"
        held = f" · {100 * self.holdout:g} % held out" if self.holdout else ""
        return f"{self.backbone} · {data}{held}{' · evaluated in part' if self.partial else ''}"


@dataclass(frozen=True)
class Setting:
    """What scores must share to be compared: task, backbone, shots and what is validated on."""

    task: str
    block: Block

    @property
    def title(self) -> str:
        """For example ``RTE · minilm · 16 shots``."""
        return f"{task_name(self.task)} · {self.block.title}"


@dataclass(frozen=True)
class Method:
    """A strategy with those of its options that were varied in some setting, by their dotted names."""

    strategy: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """For example ``hifi k=3 teleport=uniform``."""
        return " ".join([self.strategy, *(f"{self.short(key)}={value}" for key, value in self.options)])

    def short(self, key: str) -> str:
        """Return the last part of a dotted option, or all of it where the last part alone is ambiguous."""
        return short(key, {name for name, _ in self.options})


@dataclass(frozen=True, eq=False)  # a cell is itself: records cannot be hashed
class Cell:
    """One method in one setting: its runs, one a seed, and their scores in percent on `split`."""

    setting: Setting
    method: Method
    split: str
    runs: tuple[RunRecord, ...]
    repeated: int

    @cached_property
    def scores(self) -> dict[int, float]:
        """The seeds that gave a number, collapsed runs among them, each with its score in percent."""
        found = {run.seed: getattr(run.metric, self.split) for run in self.finished if run.metric}
        return {seed: 100 * score for seed, score in found.items() if score is not None}

    @property
    def finished(self) -> list[RunRecord]:
        """The runs that came to their end."""
        return [run for run in self.runs if run.status == "finished"]

    @property
    def mean(self) -> float | None:
        """Mean over seeds, in percent."""
        return statistics.fmean(self.scores.values()) if self.scores else None

    @property
    def std(self) -> float | None:
        """Sample standard deviation over seeds (n - 1), in percent points; None for one seed."""
        return statistics.stdev(self.scores.values()) if len(self.scores) > 1 else None

    @property
    def metric(self) -> str | None:
        """The name of the task's primary metric."""
        return next((run.metric.name for run in self.runs if run.metric), None)

    @property
    def collapsed(self) -> list[int]:
        """The seeds whose run gives one answer to everything."""
        return [run.seed for run in self.runs if run.collapsed]

    @property
    def missing(self) -> list[tuple[int, str]]:
        """The seeds without a score, each with the reason."""
        return [(run.seed, why(run)) for run in self.runs if run.seed not in self.scores]

    def further(self, key: str) -> dict[int, float]:
        """Return another metric by seed, in percent: `key` is ``split/metric``."""
        found = {run.seed: run.metric.further.get(key) for run in self.finished if run.metric}
        return {seed: 100 * score for seed, score in found.items() if score is not None}


@dataclass(frozen=True)
class Study:
    """Everything that was read; `unreadable` are the records that could not be, each with the reason.

    `landscapes` are the files of loss landscapes beside the records.
    """

    cells: tuple[Cell, ...]
    unreadable: tuple[str, ...] = ()
    landscapes: tuple[Path, ...] = ()

    @cached_property
    def settings(self) -> list[Setting]:
        """Settings, block by block, tasks in the paper's order."""
        return list(dict.fromkeys(cell.setting for cell in self.cells))

    @cached_property
    def blocks(self) -> list[Block]:
        """Blocks in the order of their settings."""
        return list(dict.fromkeys(setting.block for setting in self.settings))

    @cached_property
    def methods(self) -> list[Method]:
        """All methods by name."""
        return sorted({cell.method for cell in self.cells}, key=lambda method: (method.strategy, method.label))

    def tasks(self, block: Block) -> list[str]:
        """Return the tasks of a block, in the paper's order."""
        return [setting.task for setting in self.settings if setting.block == block]

    def of(self, place: Setting | Block) -> list[Cell]:
        """Return the cells of a setting or block, best mean first within a setting."""
        return [cell for cell in self.cells if place in (cell.setting, cell.setting.block)]


def read(folders: Iterable[Path]) -> Study:
    """Return the study of every record below `folders`, each file once.

    Raises UserError when a folder does not exist or no record can be read. A record that cannot be read does
    not hide the others: it is listed.
    """
    records, unreadable = [], []
    files: dict[Path, Path] = {}
    landscapes: dict[Path, Path] = {}
    for folder in folders:
        require(folder.is_dir(), f"no folder {folder}: give folders that hold runs (their {FILE_NAME})")
        files |= {path.resolve(): path for path in sorted(folder.rglob(FILE_NAME))}
        landscapes |= {path.resolve(): path for path in sorted(folder.rglob(LANDSCAPE))}
    for path in files.values():
        try:
            records.append(RunRecord.read(path))
        except UserError as error:
            unreadable.append(str(error))
    first = f"; {unreadable[0]}" if unreadable else f": not one {FILE_NAME} was found"
    require(bool(records), f"no runs to report on{first}")
    return replace(gather(records, unreadable), landscapes=tuple(landscapes.values()))


def gather(records: Iterable[RunRecord], unreadable: Iterable[str] = ()) -> Study:
    """Return the study of `records`: runs that differ only in their seed are one cell."""
    by_setting: dict[Setting, list[RunRecord]] = defaultdict(list)
    for record in records:
        by_setting[_setting(record)].append(record)
    varied = _varied(by_setting)
    cells = []
    for setting, family in by_setting.items():
        # A few-shot run chooses its best epoch on `validation`, so only `test` is unseen: never mix the two.
        tested = any(record.metric and record.metric.test is not None for record in family)
        groups: dict[Method, list[RunRecord]] = defaultdict(list)
        for record in family:
            groups[_method(record, varied[setting.block, record.strategy])].append(record)
        for method, group in groups.items():
            runs = tuple(one_a_seed(group))
            cells.append(Cell(setting, method, "test" if tested else "validation", runs, len(group) - len(runs)))
    return Study(tuple(sorted(cells, key=_place)), tuple(unreadable))


def task_name(task: str) -> str:
    """Return a task's name as the paper writes it."""
    return TASK_NAMES.get(task, task)


def _setting(record: RunRecord) -> Setting:
    data = record.config.get("data")
    holdout = data.get("holdout") if isinstance(data, Mapping) else None
    held = holdout if isinstance(holdout, float) else None
    return Setting(record.task, Block(record.backbone, record.shots, held, _is_partial(record)))


def _is_partial(record: RunRecord) -> bool:
    trainer = record.config.get("trainer")
    limits = (
        [trainer.get(f"limit_{split}_batches") for split in ("val", "test")] if isinstance(trainer, Mapping) else []
    )
    # 1.0 is all of them, 1 is one.
    return any(limit is not None and (type(limit) is int or limit != 1.0) for limit in limits)


def _varied(by_setting: Mapping[Setting, list[RunRecord]]) -> dict[tuple[Block, str], set[str]]:
    """Return for each strategy in each block the options that differ between its runs in at least one setting.

    Epochs that follow the task do not make another method of it; k = 2 and k = 3 on one task do so on all.
    """
    varied: dict[tuple[Block, str], set[str]] = defaultdict(set)
    for setting, family in by_setting.items():
        for strategy in {record.strategy for record in family}:
            configs = [comparable(record.config) for record in family if record.strategy == strategy]
            keys = {key for config in configs for key in config}
            varying = {key for key in keys if len({config.get(key) for config in configs}) > 1}
            varied[setting.block, strategy] |= varying
    return varied


def _method(record: RunRecord, varied: set[str]) -> Method:
    config = comparable(record.config)
    return Method(record.strategy, tuple((key, config[key]) for key in sorted(varied & config.keys())))


def _place(cell: Cell) -> tuple[object, ...]:
    block, order = cell.setting.block, list(TASK_NAMES)
    task = cell.setting.task
    rank = order.index(task) if task in order else len(order)
    mean = cell.mean
    where = (block.backbone, block.partial, block.holdout or 0.0, block.shots is not None, block.shots or 0)
    return *where, rank, task, mean is None, -(mean or 0.0), cell.method.label
