"""Which columns of a user's file hold what, by their names, and how a cell that holds several values is written.

One `Layout` for each form that a kind of task may have (`tasks/forms/`): a file of texts, of words, of choices, of
questions.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peftlab.errors import UserError, nearest, require
from peftlab.tasks.sources.formats import json_of

_IDS = ("id", "index", "idx", "guid", "")
_LIST_OF_TEXTS = re.compile(r'\s*\[\s*"')
_NUMBERED = re.compile(r"(?:choice|ending|option|answer)[ _]?(\d+|[a-e])", re.IGNORECASE)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Named:
    """The columns that are read, by their names; `guessed` are those that the user did not name.

    `folder` is that of the file, beside which files lie that its rows name.
    """

    text: list[str]
    label: str | None
    guessed: tuple[str, ...] = ()
    folder: Path = Path()

    def __str__(self) -> str:
        read = [*self.text, *([self.label] if self.label is not None else [])]
        return ", ".join(f"{name} (guessed)" if name in self.guessed else name for name in read)


@dataclass(frozen=True)
class Layout:
    """How the files of one form are read.

    Attributes:
        what: `text` holds, for messages.
        texts: names that these columns usually have, the likeliest first.
        labels: likewise for the column of labels.
        numbers: how many columns `text` may name.
        cells: makes of a row, given its columns, what the form reads.
    """

    what: str
    texts: Callable[[Sequence[str]], list[str]]
    labels: tuple[str, ...]
    numbers: range
    cells: Callable[[dict[str, Any], Named], dict[str, Any]]


def columns_in(
    layout: Layout, columns: Sequence[str], where: str, text: Sequence[str] | None, label: str | None, labelled: bool
) -> Named:
    """Return the columns to read of a file, named by the user or guessed by their names.

    Args:
        layout: of the form that is read.
        columns: of the file.
        where: the file, for messages.
        text: the columns that the user named, if any.
        label: likewise.
        labelled: whether there must be labels; where not, there may be.

    Raises:
        UserError: a column that is not there, too many, or none whose name tells what it holds.
    """
    known = ", ".join(columns)
    for name in (*(text or ()), *([label] if label is not None else ())):
        require(name in columns, f"{where}: no column {name!r}{nearest(name, columns)}; the columns are {known}")
    gold = label if label is not None else _first(layout.labels, columns)
    found = list(text) if text else layout.texts([name for name in columns if name != gold])
    told = f"{where}: no column of its name holds {layout.what}; the columns are {known}; data.text=[NAME] names it"
    require(bool(found), told)
    few = f"data.text={found}: {layout.what} takes {_spelt(layout.numbers)}"
    require(len(found) in layout.numbers, few)
    none = f"{where}: no label column; the columns are {known}; data.label=NAME names it"
    require(gold is not None or not labelled, none)
    guessed = (*([] if text else found), *([gold] if label is None and gold is not None else []))
    return Named(found, gold, guessed)


def _first(names: Sequence[str], columns: Sequence[str]) -> str | None:
    """Return the column that has the first of these names which one has, in capitals or not."""
    by_name = {column.lower(): column for column in reversed(columns)}
    return next((by_name[name] for name in names if name in by_name), None)


_PAIRS = (
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "document"),
)
_SINGLES = ("text", "sentence", "review", "document", "content", "tweet", "comment", "message", "title", "question")


def _sentences(columns: Sequence[str]) -> list[str]:
    """Return a pair by its names, one text by its name, or the one column that is left."""
    for pair in _PAIRS:
        found = [name for name in (_first((part,), columns) for part in pair) if name is not None]
        if len(found) == len(pair):
            return found
    single = _first(_SINGLES, columns)
    left = [column for column in columns if column.lower() not in _IDS]
    return [single] if single is not None else left if len(left) == 1 else []


def _words(columns: Sequence[str]) -> list[str]:
    found = _first(("tokens", "words", "sentence", "text"), columns)
    return [found] if found is not None else []


def _choices(columns: Sequence[str]) -> list[str]:
    first = _first(("premise", "context", "ctx", "question", "sentence", "text", "sent1", "text_a"), columns)
    several = _first(("choices", "endings", "options", "answers"), columns)
    found = {column: match[1].lower() for column in columns if (match := _NUMBERED.fullmatch(column))}
    # By number: the tenth does not stand before the second.
    numbered = sorted(found, key=lambda column: (len(found[column]), found[column], column))
    offered = [several] if several is not None else numbered
    return [first, *offered] if first is not None and offered else []


def _questions(columns: Sequence[str]) -> list[str]:
    question, context = _first(("question", "query"), columns), _first(("context", "passage", "paragraph"), columns)
    return [question, context] if question is not None and context is not None else []


def _pictures(columns: Sequence[str]) -> list[str]:
    found = _first(("image", "img", "picture", "file_name", "filename", "file", "path"), columns)
    return [found] if found is not None else []


def _as_they_are(row: dict[str, Any], named: Named) -> dict[str, Any]:
    return row


def _of_words(row: dict[str, Any], named: Named) -> dict[str, Any]:
    return {**row, **{name: _words_of(row.get(name)) for name in (named.text[0], named.label) if name in row}}


def _of_choices(row: dict[str, Any], named: Named) -> dict[str, Any]:
    name = named.text[1]
    if len(named.text) != 2 or not isinstance(row.get(name), str):
        return row
    found = _json_or_none(row[name])
    require(
        isinstance(found, list),
        f'{name} {row[name]!r:.60}: allowed is a list, ["one", "other"], or a column for each choice',
    )
    return {**row, name: found}


def _of_questions(row: dict[str, Any], named: Named) -> dict[str, Any]:
    """Return a row whose answers are a list or a table; of an answer that is a text, its place is looked for."""
    if named.label is None or not isinstance(row.get(named.label), str):
        return row
    answer, context = row[named.label], row.get(named.text[1])
    if answer.lstrip()[:1] in ("[", "{"):
        return {**row, named.label: json_of(answer, f"column {named.label!r}")}
    if not answer.strip():
        return {**row, named.label: []}
    place = row.get("answer_start")
    if place is None or place == "":
        place = context.find(answer) if isinstance(context, str) else -1
    try:
        return {**row, named.label: [{"text": answer, "answer_start": int(place)}]}
    except (TypeError, ValueError):
        raise UserError(f"answer_start {place!r}; allowed is the place of the answer's first character") from None


def _of_images(row: dict[str, Any], named: Named) -> dict[str, Any]:
    """Return a row whose image, where a text names it, is a file beside that of the row; its name is its `id`.

    A folder's rows have columns of their own, whatever a file's beside it are called.
    """
    if "image" in row:
        row = {named.text[0]: row["image"], named.label or "label": row.get("label"), **row}
    name = row.get(named.text[0])
    if not isinstance(name, str):
        return row
    return {"id": name, **row, named.text[0]: str(named.folder / name)}


def _words_of(value: Any) -> Any:
    """Return the words or tags of a cell: a list of JSON, or what stands between blanks.

    A sentence may begin with a bracket too; it is taken for a list where a quotation mark follows.
    """
    if not isinstance(value, str):
        return value
    if _LIST_OF_TEXTS.match(value):
        return json_of(value, "a list")
    found = _json_or_none(value) if value.lstrip().startswith("[") else None
    return found if isinstance(found, list) else value.split()


def _json_or_none(text: str) -> Any:
    """Return JSON data, or None for what is none."""
    try:
        return json_of(text, "a list")
    except UserError:
        return None


def _spelt(numbers: range) -> str:
    first, last = numbers[0], numbers[-1]
    if first == last:
        return f"{first} column{'s' if first > 1 else ''}"
    return f"{first} or {last} columns" if last - first == 1 else f"{first} columns or more"


LAYOUTS = {
    "texts": Layout(
        "a text",
        _sentences,
        ("label", "labels", "class", "category", "target", "sentiment", "gold_label", "score", "rating", "stars"),
        range(1, 3),
        _as_they_are,
    ),
    "words": Layout("words", _words, ("tags", "ner_tags", "labels", "label"), range(1, 2), _of_words),
    "choices": Layout(
        "a text and its choices",
        _choices,
        ("label", "answer", "correct", "target", "gold"),
        range(2, 100),
        _of_choices,
    ),
    "images": Layout(
        "images",
        _pictures,
        ("label", "labels", "class", "category", "target", "fine_label"),
        range(1, 2),
        _of_images,
    ),
    "questions": Layout("a question and a context", _questions, ("answers", "answer"), range(2, 3), _of_questions),
}
