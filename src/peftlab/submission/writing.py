"""Runs' answers to the test sets of a benchmark, as the files that its server reads."""

import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peftlab.errors import UserError, prefix_errors, require
from peftlab.prediction.given import from_rows
from peftlab.prediction.loaded import LoadedRun
from peftlab.submission.formats import HEADER, Benchmark, File, Word
from peftlab.tasks.sources.formats import Row, jsonl_rows
from peftlab.tasks.sources.release import tsv_rows
from peftlab.tasks.task import FileSource

_EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a zip can say: the same answers make the same zip


@dataclass(frozen=True)
class Written:
    """One file of a submission.

    Attributes:
        file: which one.
        text: what it holds; None: it could not be written.
        by: whose answers they are, in words.
        filled: whether nobody answered.
    """

    file: File
    text: str | None
    by: str
    filled: bool


def answers(run: LoadedRun, rows: Iterable[Row], tell: Callable[[int], object] = int) -> list[str]:
    """Return a run's answers to rows, in their order; what might be their labels is not read, and nothing is scored."""
    given = from_rows(run.kind, iter(rows), labelled=False)
    chunks = run.stream(given, tell=tell)
    return [answer for chunk in chunks for answer in run.kind.answers(chunk.predictions)]


def answered(file: File, run: LoadedRun, root: Path, tell: Callable[[int], object] = int) -> str:
    """Return a file with a run's answers to its test set.

    Args:
        file: of the benchmark.
        run: of the file's task.
        root: the folder of the benchmark's release.
        tell: is told after each batch how many examples it held.

    Raises:
        UserError: the test set is malformed or not whole, or the run knows other labels than the benchmark.
    """
    path = root / file.test
    found = answers(run, _renamed(file, rows_of(path)), tell)
    return _text(file, found, path)


def filled(file: File, root: Path | None) -> str | None:
    """Return a file with the majority answer; None where its form is known from its test set alone, which is missing.

    Where there is no such answer, as ReCoRD asks for a text, it is the entity that its passage names most often.
    """
    if file.shape in ("rows", "scores"):
        return "".join(_lines(file, [file.majority] * file.rows))
    path = root / file.test if root is not None else None
    if path is None or not path.is_file():
        return None
    guessed = [answer for where, row in rows_of(path) for answer in _guesses(file, where, row)]
    return _text(file, guessed, path)


def rows_of(path: Path) -> Iterator[Row]:
    """Yield the rows of a test set, each with its place."""
    return jsonl_rows(path) if path.suffix == ".jsonl" else tsv_rows(FileSource(folder=""), path)


def write_zip(written: Sequence[Written]) -> bytes:
    """Return the zip: its files lie side by side; the same answers make the same bytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in written:
            if one.text is not None:
                entry = zipfile.ZipInfo(one.file.name, _EARLIEST)
                entry.external_attr = 0o644 << 16
                archive.writestr(entry, one.text.encode("utf-8"), zipfile.ZIP_DEFLATED)
    return target.getvalue()


def note(benchmark: Benchmark, written: Sequence[Written]) -> str:
    """Return in words whose answers each file holds."""
    width = max(len(one.file.name) for one in written)
    return "".join(
        [f"{benchmark.title}: whose answers each file holds\n\n"]
        + [f"{one.file.name:<{width}}  {'* ' if one.filled else '  '}{one.by}\n" for one in written]
    )


def _text(file: File, found: Sequence[str], path: Path) -> str:
    if file.shape == "passages":
        lines, number = _passages(found, path)
    elif file.shape == "queries":
        lines, number = list(_queries(found, path)), len(found)
    else:
        _check_order(path)
        with prefix_errors(f"{path}: "):
            lines, number = list(_lines(file, [_word(file, answer) for answer in found])), len(found)
    wanted = f"the test set of {file.name} asks for {file.rows:,}"
    require(number == file.rows, f"{path}: {number:,} answers; {wanted}")
    return "".join(lines)


def _check_order(path: Path) -> None:
    for place, (where, row) in enumerate(rows_of(path)):
        index = row.get("idx", row.get("index", place))
        require(str(index) == str(place), f"{where}: index {index} where {place} is expected")


def _lines(file: File, words: Sequence[Word]) -> Iterator[str]:
    if file.name.endswith(".jsonl"):
        yield from (_json({"idx": place, "label": word}) for place, word in enumerate(words))
        return
    yield HEADER + "\n"
    yield from (f"{place}\t{word}\n" for place, word in enumerate(words))


def _passages(found: Sequence[str], path: Path) -> tuple[list[str], int]:
    """Return MultiRC's passages, and how many verdicts; an answer is the places of a question's right answers."""
    judged, lines, number = iter(found), [], 0
    for where, row in rows_of(path):
        with _known_form(where):
            questions = []
            for question in row["passage"]["questions"]:
                right = next(judged).split(" ")
                numbers = [answer["idx"] for answer in question["answers"]]
                verdicts = [{"idx": idx, "label": int(str(place) in right)} for place, idx in enumerate(numbers)]
                questions.append({"idx": question["idx"], "answers": verdicts})
                number += len(verdicts)
            lines.append(_json({"idx": row["idx"], "passage": {"questions": questions}}))
    return lines, number


def _queries(found: Sequence[str], path: Path) -> Iterator[str]:
    """Yield ReCoRD's answers, the texts of entities."""
    chosen = iter(found)
    for where, row in rows_of(path):
        with _known_form(where):
            yield from (_json({"idx": query["idx"], "label": next(chosen)}) for query in row["qas"])


@contextmanager
def _known_form(where: str) -> Iterator[None]:
    """Turn what a row lacks into a `UserError`."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(f"{where}: not in the form of the benchmark's test set ({error})") from error


def _guesses(file: File, where: str, row: dict[str, Any]) -> list[str]:
    with _known_form(where):
        if file.shape == "passages":
            return [""] * len(row["passage"]["questions"])
        passage = row["passage"]
        names = Counter(passage["text"][part["start"] : part["end"] + 1] for part in passage["entities"])
        return [names.most_common(1)[0][0] for _ in row["qas"]]


def _renamed(file: File, rows: Iterable[Row]) -> Iterator[Row]:
    for where, row in rows:
        yield where, {ours: row.get(theirs) for theirs, ours in file.columns.items()} if file.columns else row


def _word(file: File, answer: str) -> Word:
    if file.shape == "scores":
        return answer
    allowed = ", ".join(file.words)
    require(answer in file.words, f"its run's answer {answer!r} is no label of {file.name}; allowed are {allowed}")
    return file.words[answer]


def _json(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
