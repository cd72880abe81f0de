"""What is wrong with a zip that is meant for the server of GLUE or SuperGLUE; nothing in it is trusted or unpacked."""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from peftlab.errors import UserError, nearest, require, shown
from peftlab.files import read_regular
from peftlab.submission.formats import GLUE, HEADER, SCORES, SUPERGLUE, Benchmark, File, Word

LONGEST_ZIP = 2**26  # bytes; GLUE's eleven files have some 4 MB before they are compressed
LONGEST_FILE = 2**23
MOST_FILES = 64
MOST_TOLD = 5  # mistakes of one file

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")
_SCORE = re.compile(r"[0-9](\.[0-9]{1,3})?")
_RETURN = b"\r"
_BOM = b"\xef\xbb\xbf"
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

Mistakes = Iterator[str]


def find_mistakes(path: Path, benchmark: Benchmark | None = None) -> list[str]:
    """Return what is wrong, a line each: file, line and mistake, at most `MOST_TOLD` of a file; empty: it is right.

    Args:
        path: the zip.
        benchmark: whose it is; None: SuperGLUE's where a name ends with .jsonl, else GLUE's.

    Raises:
        UserError: it is no zip, or one that is too large to be read.
    """
    try:
        content = read_regular(path, LONGEST_ZIP)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    try:
        archive = zipfile.ZipFile(io.BytesIO(content))
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UserError(f"{path}: not a zip file ({error})") from error
    entries = archive.infolist()
    require(len(entries) <= MOST_FILES, f"{path}: {len(entries)} files; a submission has some ten")
    if benchmark is None:
        benchmark = SUPERGLUE if any(entry.filename.endswith(".jsonl") for entry in entries) else GLUE
    return [shown(f"{path}: {line}") for line in _of_archive(archive, entries, benchmark)]


def _of_archive(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo], benchmark: Benchmark) -> Mistakes:
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename
        if name in seen:
            yield f"{name}: stands in the zip twice"
            continue
        seen.add(name)
        yield from _of_entry(archive, entry, benchmark)
    for file in benchmark.files:
        if file.name not in seen:
            yield f"{file.name}: missing; a task without a model needs answers, too"


def _of_entry(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, benchmark: Benchmark) -> Mistakes:
    name, known = entry.filename, [file.name for file in benchmark.files]
    file = benchmark.file(name)
    if "/" in name or "\\" in name or name.startswith("."):
        yield f"{name}: in a folder; the files lie in the zip itself"
    elif file is None:
        yield f"{name}: no file of {benchmark.title}{nearest(name, known)}; there are {', '.join(known)}"
    else:
        try:
            content = _content(archive, entry)
        except UserError as error:
            yield f"{name}: {error}"
        else:
            check = _of_objects if name.endswith(".jsonl") else _of_table
            yield from (f"{name}:{mistake}" for mistake in islice(_of_text(content, file, check), MOST_TOLD))


def _content(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    most = f"at most {LONGEST_FILE:,} are read"
    require(entry.file_size <= LONGEST_FILE, f"{entry.file_size:,} bytes; {most}")
    require(not entry.flag_bits & 1, "encrypted")
    require(entry.compress_type in _METHODS, "compressed by a method other than deflate")
    try:
        with archive.open(entry) as stream:  # reads no more than the size that it names, and holds it to its checksum
            return stream.read(LONGEST_FILE)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise UserError(f"cannot be read ({error})") from error


def _of_text(content: bytes, file: File, check: Any) -> Mistakes:
    """Yield ``line: mistake``: first of the bytes, then of what the lines say."""
    if content.startswith(_BOM):
        yield "1: begins with a byte order mark; none is allowed"
        content = content.removeprefix(_BOM)
    if _RETURN in content:
        yield f"{_line(content, content.index(_RETURN))}: a carriage return; lines end with a line feed alone"
        content = content.replace(_RETURN + b"\n", b"\n").replace(_RETURN, b"\n")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        yield f"{_line(content, error.start)}: not UTF-8 ({error.reason})"
        return
    yield from check(text.removesuffix("\n").split("\n"), file)


def _line(content: bytes, place: int) -> int:
    return content.count(b"\n", 0, place) + 1


class _Indices:
    """The indices of a file: each from 0 once, in ascending order."""

    def __init__(self, rows: int, ordered: bool = True) -> None:
        self._rows, self._ordered = rows, ordered
        self._lines: dict[int, int] = {}
        self._last = -1

    def mistake(self, index: int, line: int) -> str | None:
        """Take the index in a line, and return what is wrong with it."""
        first, last = self._lines.setdefault(index, line), self._last
        self._last = index
        if first != line:
            return f"index {index} stands in line {first} already"
        if self._ordered and index >= self._rows:
            return f"index {index}; allowed are 0 to {self._rows - 1}"
        if self._ordered and index < last:
            return f"index {index} after {last}; indices ascend"
        return None

    def missing(self) -> list[int]:
        """Return the first indices that are missing, where they are known."""
        return list(islice((index for index in range(self._rows) if index not in self._lines), MOST_TOLD))


def _of_table(lines: list[str], file: File) -> Mistakes:
    if lines[0] != HEADER:
        yield f"1: the header is {shown(repr(lines[0]), 60)}; it must be 'index<TAB>prediction'"
    indices = _Indices(file.rows)
    for number, line in enumerate(lines[1:], start=2):
        fields = line.split("\t")
        if '"' in line:
            yield f"{number}: a quotation mark; none is allowed"
        elif len(fields) != 2:
            yield f"{number}: {len(fields) if line else 0} columns where 2 are expected, with a tab between them"
        elif not _INDEX.fullmatch(fields[0]):
            yield f"{number}: index {shown(repr(fields[0]), 60)}; allowed are whole numbers from 0"
        else:
            mistake = indices.mistake(int(fields[0]), number) or _answer_mistake(fields[1], file)
            if mistake:
                yield f"{number}: {mistake}"
    yield from _at_end(len(lines), len(lines) - 1, indices, file)


def _of_objects(lines: list[str], file: File) -> Mistakes:
    indices = _Indices(file.rows, ordered=file.shape == "rows")
    found = 0
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line, object_pairs_hook=_no_key_twice)
        except (ValueError, RecursionError) as error:
            yield f"{number}: not JSON ({error})"
            continue
        try:
            answers = _passage(row, indices, number) if file.shape == "passages" else _labelled(row, indices, number)
        except UserError as error:
            yield f"{number}: {error}"
            continue
        found += len(answers)
        yield from (f"{number}: {mistake}" for word in answers if (mistake := _answer_mistake(word, file)))
    yield from _at_end(len(lines), found, indices, file)


def _at_end(line: int, found: int, indices: _Indices, file: File) -> Mistakes:
    if found != file.rows:
        yield f"{line}: {found:,} answers; {file.rows:,} are expected"
    if file.shape in ("rows", "scores") and (missing := indices.missing()):
        yield f"{line}: no row with index {', '.join(map(str, missing))}{', …' if len(missing) == MOST_TOLD else ''}"


def _labelled(row: Any, indices: _Indices, line: int) -> list[Any]:
    _keys(row, "idx", "label")
    mistake = indices.mistake(_number(row["idx"]), line)
    require(mistake is None, str(mistake))
    return [row["label"]]


def _passage(row: Any, indices: _Indices, line: int) -> list[Any]:
    """Return the verdicts on all answers to a passage's questions."""
    _keys(row, "idx", "passage")
    mistake = indices.mistake(_number(row["idx"]), line)
    require(mistake is None, str(mistake))
    found = []
    for question in _parts(row["passage"], "questions"):
        _number(question["idx"])
        answers = _parts(question, "answers")
        numbers = [_number(answer["idx"]) for answer in answers]
        require(len(set(numbers)) == len(numbers), f"question {question['idx']}: two answers of one idx")
        found += [answer.get("label") for answer in answers]
    return found


def _parts(table: Any, name: str) -> list[dict[str, Any]]:
    parts = table.get(name) if isinstance(table, dict) else None
    whole = isinstance(parts, list) and all(isinstance(part, dict) and "idx" in part for part in parts)
    require(whole, f"no list {name!r} of objects with an idx")
    return parts or []


def _keys(row: Any, *names: str) -> None:
    whole = isinstance(row, dict) and row.keys() == set(names)
    require(whole, f"must be an object with the keys {' and '.join(names)}")


def _number(value: Any) -> int:
    require(type(value) is int and value >= 0, f"idx {shown(repr(value), 60)}; allowed are whole numbers from 0")
    return int(value)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _answer_mistake(answer: Any, file: File) -> str | None:
    """Return what is wrong with an answer."""
    what = f"answer {shown(repr(answer), 60)}"
    if file.shape == "scores":
        lowest, highest = SCORES
        fits = bool(_SCORE.fullmatch(answer)) and lowest <= float(answer) <= highest
        return None if fits else f"{what}; allowed are numbers from {lowest:g} to {highest:g} with three decimals"
    if file.shape == "queries":
        return None if isinstance(answer, str) and answer.strip() else f"{what}; allowed is a text"
    words: list[Word] = list(file.words.values())
    known = any(type(answer) is type(word) and answer == word for word in words)
    allowed = ", ".join(map(json.dumps if file.name.endswith(".jsonl") else str, words))
    return None if known else f"{what}; allowed are {allowed}"
