"""Predictions as rows of a file, written as they come, the file whole or not at all."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from peftlab.errors import require
from peftlab.files import atomic_file

Write = Callable[[Mapping[str, Any]], None]
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
ENDINGS = (*_DELIMITERS, ".jsonl")


@contextmanager
def writer(path: Path) -> Iterator[Write]:
    """Give a function that writes a row: into CSV or TSV, where tables become columns and lists JSON, or JSON lines.

    The first row names the columns of CSV and TSV.

    Raises:
        UserError: the end of the file's name is none of `ENDINGS`.
    """
    require(path.suffix in ENDINGS, f"{path}: the format is unknown; allowed are names that end with {_spelt()}")
    with atomic_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        yield _lines(file) if path.suffix == ".jsonl" else _table(file, _DELIMITERS[path.suffix])


def _spelt() -> str:
    return ", ".join(ENDINGS)


def _lines(file: IO[str]) -> Write:
    return lambda row: print(json.dumps(row, ensure_ascii=False), file=file)


def _table(file: IO[str], delimiter: str) -> Write:
    table = csv.writer(file, delimiter=delimiter, lineterminator="\n")
    columns: list[str] = []

    def write(row: Mapping[str, Any]) -> None:
        cells = dict(_cells(row))
        if not columns:
            columns.extend(cells)
            table.writerow(columns)
        table.writerow([cells[name] for name in columns])

    return write


def _cells(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}.{key}", inner) for key, inner in value.items())
        else:
            yield name, json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
