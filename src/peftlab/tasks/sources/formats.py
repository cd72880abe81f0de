"""Rows of files that are not tab-separated: CSV, JSON lines, SQuAD's JSON, CoNLL's columns; each with its place."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from peftlab.errors import UserError, require
from peftlab.files import read_regular
from peftlab.options.schema import parse_json

Row = tuple[str, dict[str, Any]]
_DOCUMENT = "-DOCSTART-"
# What spreadsheets and others put between columns in the place of a comma.
_OTHER_MARKS = {";": "semicolons", "\t": "tabs", "|": "bars"}


def csv_rows(path: Path, delimiter: str = ",", quoted: bool = True) -> Iterator[Row]:
    """Yield the rows of a comma-separated file with a header line; empty lines are left out.

    Args:
        path: of the file.
        delimiter: what stands between two columns.
        quoted: whether a quotation mark around a value is no part of it.
    """
    content = io.StringIO(text_of(path), newline="")
    if quoted:
        reader = csv.reader(content, strict=True, delimiter=delimiter)
    else:
        reader = csv.reader(content, strict=True, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    try:
        header = next(reader)
        alone = "".join(header) if len(header) == 1 else ""
        other = next((name for mark, name in _OTHER_MARKS.items() if mark in alone), None)
        require(other is None, f"{path}:1: columns are divided by {other}; allowed are commas in .csv, tabs in .tsv")
        twice = [name for name in header if header.count(name) > 1]
        require(not twice, f"{path}:1: two columns are named {''.join(twice[:1])!r}")
        for fields in filter(None, reader):
            where = f"{path}:{reader.line_num}"
            require(len(fields) == len(header), f"{where}: {len(fields)} columns where {len(header)} are expected")
            yield where, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: cannot be read ({error})") from error


def jsonl_rows(path: Path) -> Iterator[Row]:
    """Yield the objects of a file with one a line."""
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if line.strip():
            row = json_of(line, f"{path}:{number}")
            require(isinstance(row, dict), f"{path}:{number}: must be a JSON object, found {type(row).__name__}")
            yield f"{path}:{number}", row


def squad_rows(path: Path) -> Iterator[Row]:
    """Yield the questions of a file of SQuAD 1.1 or 2.0: `id`, `question`, `context`, `answers`."""
    content = json_of(text_of(path), str(path))
    for article in _list(content, "data", str(path)):
        for paragraph in _list(article, "paragraphs", str(path)):
            for question in _list(paragraph, "qas", str(path)):
                where = f"{path}: question {question.get('id')}" if isinstance(question, dict) else str(path)
                require("question" in question and "id" in question, f"{where}: allowed are tables of question and id")
                answers = [] if question.get("is_impossible") else question.get("answers")
                require(answers is None or isinstance(answers, list), f"{where}: answers is no list")
                for answer in answers or []:
                    known = isinstance(answer, dict) and {"text", "answer_start"} <= answer.keys()
                    require(known, f"{where}: an answer without text or answer_start")
                yield where, {**question, "context": paragraph.get("context"), "answers": answers}


def conll_rows(path: Path, tagged: bool = True) -> Iterator[Row]:
    """Yield sentences, `tokens` and `tags`: a word a line, its tag last, blank lines between; no document marks.

    Columns are cut at tabs, or at blanks where a line has none. Where they
    need not be `tagged`, a sentence of words alone has no `tags`.
    """
    words: list[str] = []
    tags: list[str | None] = []
    begun = 1
    for number, line in enumerate([*text_of(path).split("\n"), ""], start=1):
        where = f"{path}:{number}"
        if not line.strip():
            if words:
                require(None not in tags or not any(tags), f"{path}:{begun}: some of its words have no tag")
                yield f"{path}:{begun}", {"tokens": words, **({"tags": tags} if any(tags) else {})}
            words, tags = [], []
            continue
        fields = line.rstrip("\r").split("\t") if "\t" in line else line.split()
        if fields[0] == _DOCUMENT:
            continue
        known = len(fields) > 1 or not tagged
        require(known and bool(fields[0].strip()), f"{where}: a word and its tag are expected")
        begun = begun if words else number
        words.append(fields[0])
        tags.append(fields[-1].strip() if len(fields) > 1 else None)


def once(rows: Iterable[Row], *names: str) -> Iterator[Row]:
    """Yield the rows, and refuse one that has the value of an earlier one in a column of these names."""
    lines: dict[tuple[str, Any], str] = {}
    for where, row in rows:
        for name in names:
            if name in row:
                first = lines.setdefault((name, str(row[name])), where)
                told = f"{name} {row[name]!r} stands in line {first.rpartition(':')[2]} already"
                require(first == where, f"{where}: {told}")
        yield where, row


FORMATS: dict[str, Callable[[Path], Iterator[Row]]] = {
    "csv": csv_rows,
    "jsonl": jsonl_rows,
    "squad": squad_rows,
    "conll": conll_rows,
}


def text_of(path: Path) -> str:
    """Return a file's text, without a byte order mark.

    Raises:
        UserError: it is empty, or not UTF-8.
    """
    content = read_regular(path).removeprefix(b"\xef\xbb\xbf")
    require(bool(content.strip()), f"{path}: the file is empty")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: not UTF-8 ({error.reason} at byte {error.start})") from None


def json_of(content: str, where: str) -> Any:
    """Return JSON data; raises UserError, beginning with `where`, for what is none."""
    try:
        return parse_json(content)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error})") from error


def _list(table: Any, name: str, where: str) -> list[Any]:
    found = table.get(name) if isinstance(table, dict) else None
    require(isinstance(found, list), f"{where}: no list {name!r}")
    assert isinstance(found, list)
    return found
