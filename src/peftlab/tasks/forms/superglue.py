"""Tasks of SuperGLUE (Wang et al., 2019) that are more than texts with a label, as its files or the Hub have them."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from peftlab.errors import prefix_errors, require
from peftlab.tasks.forms.rows import Located, Raw, by_row, inner, several, text
from peftlab.tasks.task import Source

CONNECTIVES = {"cause": "because", "effect": "so"}
PLACEHOLDER = "@placeholder"


@by_row
def copa(row: Raw, source: Source) -> Iterator[dict[str, Any]]:
    """Yield the premise with "because" or "so", which says what is asked for, and the two choices."""
    asked = row["question"]
    require(asked in CONNECTIVES, f"question {asked!r}; allowed are {', '.join(CONNECTIVES)}")
    yield {
        "text_a": f"{text(row['premise'], 'premise').rstrip('. ')} {CONNECTIVES[asked]}",
        "choices": [text(row[name], name) for name in ("choice1", "choice2")],
        "label": row.get("label"),
    }


@by_row
def wic(row: Raw, source: Source) -> Iterator[dict[str, Any]]:
    """Yield both sentences, the word that is asked about between asterisks in each: what the model reads shows it."""
    marked = []
    for number in "12":
        sentence, start, end = (row[f"{name}{number}"] for name in ("sentence", "start", "end"))
        whole = isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(sentence)
        require(whole, f"start{number}={start}, end{number}={end}: no span of sentence{number}")
        marked.append(_marked(sentence, start, end))
    yield {"text_a": marked[0], "text_b": marked[1], "label": row.get("label")}


@by_row
def wsc(row: Raw, source: Source) -> Iterator[dict[str, Any]]:
    """Yield the text with its pronoun between asterisks, and the noun that it may stand for.

    `span2_index` counts words between blanks; a text as the Hub has it holds the spans beside the text.
    """
    target = inner(row["target"], "target") if "target" in row else row
    pronoun, place = text(target["span2_text"], "span2_text"), target["span2_index"]
    parts = text(row["text"], "text").split(" ")
    count = len(pronoun.split(" "))
    fits = isinstance(place, int) and 0 <= place <= len(parts) - count
    require(fits, f"span2_index={place}: allowed are 0 to {len(parts) - count}, the places of its words")
    shown = [*parts[:place], "*", *parts[place : place + count], "*", *parts[place + count :]]
    yield {"text_a": " ".join(shown), "text_b": text(target["span1_text"], "span1_text"), "label": row.get("label")}


def multirc(rows: Iterable[tuple[str, Mapping[str, Any]]], source: Source) -> Iterator[Located]:
    """Yield each question with all its answers: files hold passages with questions, the Hub a row for each answer."""
    for (_, nested), found in groupby(rows, key=lambda pair: _question(pair[1])):
        first, *more = found
        where, row = first[0], Raw(first[1])
        with prefix_errors(f"{where}: "):
            made = list(_of_passage(row)) if nested else [_of_answers([row, *(Raw(other) for _, other in more)])]
            again = [one for _, other in more for one in _of_passage(Raw(other))] if nested else []
        yield from ((where, example) for example in (*made, *again))


@by_row
def record(row: Raw, source: Source) -> Iterator[dict[str, Any]]:
    """Yield each query with all entities of its passage in the place of "@placeholder"; `label` are the right ones."""
    passage = row["passage"]
    if isinstance(passage, Mapping):
        whole = text(passage["text"], "passage.text")
        names = [whole[part["start"] : part["end"] + 1] for part in several(passage["entities"], "passage.entities")]
        asked = [(query["query"], _texts(query.get("answers"))) for query in several(row["qas"], "qas")]
    else:
        whole, names = text(passage, "passage"), several(row["entities"], "entities")
        asked = [(row["query"], row.get("answers"))]
    entities = list(dict.fromkeys(names))
    for query, right in asked:
        require(PLACEHOLDER in query, f"query without {PLACEHOLDER}")
        yield {
            "text_a": whole.replace("\n@highlight\n", " "),
            "choices": [query.replace(PLACEHOLDER, name) for name in entities],
            "names": entities,
            "label": None if right is None else list(dict.fromkeys(several(right, "answers"))),
        }


def _texts(answers: Any) -> list[str] | None:
    return None if answers is None else [answer["text"] for answer in several(answers, "answers")]


def _marked(sentence: str, start: int, end: int) -> str:
    return f"{sentence[:start]}* {sentence[start:end]} *{sentence[end:]}"


def _question(row: Mapping[str, Any]) -> tuple[Any, bool]:
    """Return what is the same for all answers to a question, and whether one row holds a whole passage."""
    if isinstance(row.get("passage"), Mapping):
        return row.get("idx"), True
    place = row.get("idx")
    place = place if isinstance(place, Mapping) else {}
    return (place.get("paragraph"), place.get("question"), row.get("question")), False


def _of_passage(row: Raw) -> Iterator[dict[str, Any]]:
    passage = inner(row["passage"], "passage")
    for question in several(passage["questions"], "passage.questions"):
        answers = several(inner(question, "question")["answers"], "answers")
        yield _example(
            passage["text"], question["question"], [(answer["text"], answer.get("label")) for answer in answers]
        )


def _of_answers(rows: list[Raw]) -> dict[str, Any]:
    return _example(rows[0]["paragraph"], rows[0]["question"], [(row["answer"], row.get("label")) for row in rows])


def _example(passage: str, question: str, answers: list[tuple[str, Any]]) -> dict[str, Any]:
    return {
        "text_a": passage,
        "choices": [f"{question} {answer}" for answer, _ in answers],
        "label": None if any(label is None for _, label in answers) else [label for _, label in answers],
    }
