"""Records in the order that a comparison needs: settings, the methods tried in each, and what each seed gave."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

from peftlab.results.aggregate import TASK_NAMES, Block, Cell, Method, Setting, aggregate
from peftlab.results.backbones import Backbones
from peftlab.results.cuts import cuts_of
from peftlab.results.found import read_records
from peftlab.results.record import RunRecord


@dataclass(frozen=True)
class Study:
    """Everything that was read; `unreadable` are the records that could not be, each with the reason.

    `folders` are those that were read: a figure finds in them what lies beside the records.
    """

    cells: tuple[Cell, ...]
    unreadable: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()

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
        found = dict.fromkeys(cell.method for cell in self.cells)
        return sorted(found, key=lambda method: (method.strategy, method.label))

    def place_of(self, method: Method) -> int:
        """Return the place of a method among all methods, from 0."""
        return self._places[method]

    @cached_property
    def _places(self) -> dict[Method, int]:
        return {method: place for place, method in enumerate(self.methods)}

    def tasks(self, block: Block) -> list[str]:
        """Return the tasks of a block, in the paper's order."""
        return [setting.task for setting in self.settings if setting.block == block]

    def of(self, where: Setting | Block) -> list[Cell]:
        """Return the cells of a setting or block, best mean first within a setting."""
        return self._cells_of.get(where, [])

    @cached_property
    def _cells_of(self) -> dict[Setting | Block, list[Cell]]:
        found: dict[Setting | Block, list[Cell]] = defaultdict(list)
        for cell in self.cells:
            found[cell.setting].append(cell)
            found[cell.setting.block].append(cell)
        return found


def read(folders: Iterable[Path], together: bool = False) -> Study:
    """Return the study of every record below `folders`, each file once; `together` is that of `gather`.

    Raises UserError when a folder does not exist or no record can be read. A record that cannot be read does
    not hide the others: it is listed.
    """
    folders = tuple(folders)
    found = read_records(folders)
    found.check_any("no runs to report on")
    return replace(gather(found.records, found.unreadable, together), folders=folders)


def gather(records: Iterable[RunRecord], unreadable: Iterable[str] = (), together: bool = False) -> Study:
    """Return the study of `records`: runs that differ only in their seed are one cell.

    An option that is varied on one task of a block names the method on all of its tasks: k = 2 and k = 3 are two
    methods everywhere. An option that follows the task, as the number of epochs does, names none. Methods are compared
    within a block; `together` makes one block of all, in which each condition (a task on a backbone with so many
    examples) takes the place of a task.
    """
    records = list(records)
    setting = partial(_condition if together else _setting, Backbones(records))
    cells = aggregate(records, setting, named_together=lambda setting: setting.block)
    return Study(tuple(sorted(cells, key=_place)), tuple(unreadable))


def _setting(backbones: Backbones, record: RunRecord) -> Setting:
    data = record.config.get("data")
    holdout = data.get("holdout") if isinstance(data, Mapping) else None
    held = holdout if isinstance(holdout, float) else None
    return Setting(
        record.task, Block(backbones.name(record), record.shots, held, partial=bool(cuts_of(record).evaluation))
    )


def _condition(backbones: Backbones, record: RunRecord) -> Setting:
    setting = _setting(backbones, record)
    block = setting.block
    part = [block.backbone, *([f"{block.shots}-shot"] if block.shots is not None else [])]
    part += [f"holdout-{block.holdout:g}"] if block.holdout else []
    part += ["in-part"] if block.partial else []
    return Setting("@".join([setting.task, *part]), Block("all conditions", None, together=True))


def _place(cell: Cell) -> tuple[object, ...]:
    block, order = cell.setting.block, list(TASK_NAMES)
    task = cell.setting.task
    rank = order.index(task) if task in order else len(order)
    where = (block.backbone, block.partial, block.holdout or 0.0, block.shots is not None, block.shots or 0)
    return *where, rank, task, cell.scale.order(cell.mean), cell.method.label
