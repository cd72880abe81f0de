"""Finds the records below folders: one that cannot be read hides no other."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from peftlab.errors import UserError, require
from peftlab.results.record import FILE_NAME, RunRecord


@dataclass(frozen=True)
class Found:
    """Records, and for each file that is none a line that says why."""

    records: list[RunRecord]
    unreadable: list[str]

    def check_any(self, nothing: str) -> None:
        """Raise `UserError` where there is no record; `nothing` says what there is not, and the reason follows."""
        reason = f"; {self.unreadable[0]}" if self.unreadable else f": not one {FILE_NAME} was found"
        require(bool(self.records), nothing + reason)


def read_records(folders: Iterable[Path]) -> Found:
    """Return every record below `folders`, each file once, sorted by path.

    Raises:
        UserError: there is no such folder.
    """
    found = Found([], [])
    for path in find_files(folders, FILE_NAME):
        try:
            found.records.append(RunRecord.read(path))
        except UserError as error:
            found.unreadable.append(str(error))
    return found


def find_records(folder: Path) -> list[RunRecord]:
    """Return every record below `folder`, sorted by path, for those who need all of them.

    Raises:
        UserError: there is no such folder, or one of them cannot be read.
    """
    found = read_records([folder])
    for reason in found.unreadable:
        raise UserError(reason)
    return found.records


def find_files(folders: Iterable[Path], name: str) -> list[Path]:
    """Return the files of this name below `folders`, each once, though folders overlap; UserError for a missing one."""
    found: dict[str, Path] = {}
    for folder in folders:
        require(folder.is_dir(), f"no folder {folder}: give folders that hold runs (their {FILE_NAME})")
        found |= {os.path.realpath(path): path for path in sorted(folder.rglob(name))}
    return list(found.values())
