"""Read a task's examples from files, in the layout of the release that they come from."""

import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

from peftlab.errors import UserError, require
from peftlab.files import read_regular
from peftlab.tasks.kind import TaskKind
from peftlab.tasks.sources.examples import Columns, columns_of
from peftlab.tasks.sources.formats import FORMATS, once
from peftlab.tasks.task import FileSource, Task, required_splits

log = logging.getLogger(__name__)

RawRow = dict[str, str]
_ID = "index"


def read_release(kind: TaskKind, source: FileSource, root: Path) -> dict[str, Columns]:
    """Return for each split its columns as the kind names them, rows in file order.

    Args:
        kind: knows its task's labels.
        source: names folder, files and columns.
        root: the folder that holds the release, given as `data.root`.

    Raises:
        UserError: a missing or malformed file, with its line where there is one.
    """
    return {split: _columns(kind, source, path) for split, path in _present_files(kind.task, source, root).items()}


def file_hashes(task: Task, source: FileSource, root: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that `read_release` reads, by file name."""
    paths = _present_files(task, source, root).values()
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def file_stamps(source: FileSource, root: Path) -> list[tuple[str, int, int]]:
    """Return name, time and size of each file that there is: another stamp, and the files are to be read again."""
    paths = [root / source.folder / name for name in source.splits.values()]
    return [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in paths if path.is_file()]


def _present_files(task: Task, source: FileSource, root: Path) -> dict[str, Path]:
    require(root.is_dir(), f"data.root={root}: no such folder")
    paths = {split: root / source.folder / name for split, name in source.splits.items()}
    missing = [split for split, path in paths.items() if not path.is_file()]
    for split in missing:
        require(
            split not in required_splits(source), f"task={task.name}: {paths[split]} is missing under data.root={root}"
        )
        log.warning("task=%s: %s is missing; continuing without %s", task.name, paths[split], split)
    return {split: path for split, path in paths.items() if split not in missing}


def _columns(kind: TaskKind, source: FileSource, path: Path) -> Columns:
    rows = once(tsv_rows(source, path), _ID) if source.format == "tsv" else FORMATS[source.format](path)
    columns = columns_of(kind, source, rows)
    require(bool(columns), f"{path}: empty, no example in it")
    return columns


def tsv_rows(source: FileSource, path: Path) -> Iterator[tuple[str, RawRow]]:
    """Yield ``(file:line, row)``; quotes mean nothing, since GLUE's fields hold unbalanced ones."""
    lines = _lines(path)
    header = source.header or next(lines, ("", [""]))[1]
    for column in source.columns.values() if source.text else ():
        require(column in header, f"{path}:1: no column {column!r}; the columns are {', '.join(header)}")
    skipped = 0
    for where, fields in lines:
        if source.skip_short_rows and len(fields) < len(header):
            skipped += 1
            continue
        if len(fields) != len(header):
            raise UserError(f"{where}: {len(fields)} columns where {len(header)} are expected")
        yield where, dict(zip(header, fields, strict=True))
    if skipped:
        log.warning("%s: %d rows that lack columns were skipped", path, skipped)


def _lines(path: Path) -> Iterator[tuple[str, list[str]]]:
    content = read_regular(path).removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n")
    require(bool(content), f"{path}: the file is empty")
    # Split at line feeds alone: str.splitlines would also cut at separators that sentences contain.
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            yield f"{path}:{number}", line.decode("utf-8").removesuffix("\r").split("\t")
        except UnicodeDecodeError as error:
            raise UserError(f"{path}:{number}: not UTF-8 ({error.reason} at byte {error.start})") from None
