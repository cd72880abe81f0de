"""Forms that name the columns they read (`text`, `label` of a source), and those of SWAG and HellaSwag."""

import re
from collections.abc import Iterator
from typing import Any

from peftlab.errors import require
from peftlab.inputs.image_files import stored
from peftlab.tasks.forms.rows import Raw, by_row, several, text
from peftlab.tasks.task import Source

_BRACKETS = re.compile(r"\[.*?\]")


@by_row
def texts(row: Raw, source: Source) -> Iterator[dict[str, Any]]:
    """Yield one or two texts with a label."""
    named = zip(("text_a", "text_b"), source.text, strict=False)
    yield {**{name: text(row[column], column) for name, column in named}, "label": row.get(source.label)}


@by_row
def words(row: Raw, source: Source) -> Iterator[dict[str, Any]]:
    """Yield the words of a sentence with their tags."""
    (column,) = source.text
    found = [text(word, column) for word in several(row[column], column)]
    yield {"tokens": found, "label": row.get(source.label)}


@by_row
def questions(row: Raw, source: Source) -> Iterator[dict[str, Any]]:
    """Yield a question with its context, the answers and, where there is one, the id."""
    question, context = source.text
    name = {"id": str(row["id"])} if "id" in row else {}
    require(row.get(context) is not None, f"question without context: {context!r} is missing")
    yield {
        **name,
        "question": text(row[question], question),
        "context": text(row[context], context),
        "label": row.get(source.label),
    }


@by_row
def choices(row: Raw, source: Source) -> Iterator[dict[str, Any]]:
    """Yield a text and what it is offered: one column that holds a list, or a column for each choice."""
    first, *columns = source.text
    found = several(row[columns[0]], columns[0]) if len(columns) == 1 else [row[column] for column in columns]
    yield {
        "text_a": text(row[first], first),
        "choices": [text(choice, "choices") for choice in found],
        "label": row.get(source.label),
    }


@by_row
def images(row: Raw, source: Source) -> Iterator[dict[str, Any]]:
    """Yield an image with its class and, where the source has one, its name."""
    (column,) = source.text
    name = {"id": str(row["id"])} if row.get("id") is not None else {}
    yield {**name, "image": stored(row[column], column), "label": row.get(source.label)}


@by_row
def swag(row: Raw, source: Source) -> Iterator[dict[str, Any]]:
    """Yield a sentence and four second ones, as run_swag.py pairs them; `startphrase` holds the second one already."""
    begun = text(row["sent2"], "sent2")
    yield {
        "text_a": text(row["sent1"], "sent1"),
        "choices": [f"{begun} {text(row[name], name)}" for name in (f"ending{number}" for number in range(4))],
        "label": row.get("label"),
    }


@by_row
def hellaswag(row: Raw, source: Source) -> Iterator[dict[str, Any]]:
    """Yield `ctx_a`, and `ctx_b` with each of four endings, without WikiHow's marks [header], [title] and [step]."""
    begun = text(row["ctx_b"], "ctx_b")
    yield {
        "text_a": _without_marks(text(row["ctx_a"], "ctx_a")),
        "choices": [_without_marks(f"{begun} {ending}") for ending in several(row["endings"], "endings")],
        "label": row.get("label"),
    }


def _without_marks(given: str) -> str:
    return " ".join(_BRACKETS.sub(" ", given.replace(" [title]", ". ")).split())
