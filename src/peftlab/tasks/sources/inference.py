"""What a user's training file says of its task: labels, a range of scores, and whether questions go without answer."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from peftlab.errors import require
from peftlab.tasks.task import is_missing

OUT = "O"
_FEW = 20  # labels that nobody doubts, however few examples there are


def _of_texts(
    values: Sequence[Any], names: Sequence[str] | None, task: Mapping[str, Any], scores: bool = True
) -> dict[str, Any]:
    """Return labels, or a range where a value is no whole number: scores."""
    if task.get("labels") or task.get("range"):
        return {}
    if names:
        return {"labels": list(names)}
    missing = sum(map(is_missing, values))
    require(not missing, f"no label in {missing} of {len(values)} rows")
    odd = next((value for value in values if isinstance(value, list | Mapping)), None)
    require(odd is None, f"label {odd!r}; allowed are texts and numbers, one a row")
    numbers = [_number(value) for value in values]
    if (
        scores
        and all(number is not None for number in numbers)
        and any(number % 1 for number in numbers if number is not None)
    ):
        known = [number for number in numbers if number is not None]
        return {"range": [float(math.floor(min(known))), float(math.ceil(max(known)))]}
    counts = Counter(str(value) for value in values)
    require(len(counts) > 1, f"all rows have the label {''.join(counts)!r}; allowed are two labels or more")
    told = f"{len(counts)} unlike labels in {len(values)} rows are no classes; data.label=NAME names another column"
    require(len(counts) <= max(_FEW, len(values) // 2), told)
    twice = next((label for label in counts if f"{label}.0" in counts), None)
    require(twice is None, f"labels {twice} and {twice}.0 are one number; allowed is one spelling")
    return {"labels": sorted(counts, key=_in_order)}


def _of_images(values: Sequence[Any], names: Sequence[str] | None, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return labels: a folder's name is no score."""
    return _of_texts([str(value) for value in values], names, {**task, "range": None}, scores=False)


def _of_words(values: Sequence[Any], names: Sequence[str] | None, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return O, and B- and I- of each type that a tag names."""
    if task.get("labels"):
        return {}
    if names:
        return {"labels": list(names)}
    found = {str(tag) for tags in values if isinstance(tags, list) for tag in tags}
    odd = sorted(tag for tag in found if tag != OUT and (tag[:2] not in ("B-", "I-") or len(tag) < 3))
    require(not odd, f"tag {''.join(odd[:1])!r}; allowed are O, B-TYPE and I-TYPE (IOB2)")
    types = sorted({tag[2:] for tag in found} - {""})
    require(bool(types), "no word has a tag other than O; allowed are O, B-TYPE and I-TYPE (IOB2)")
    return {"labels": [OUT, *(f"{begin}-{name}" for name in types for begin in "BI")]}


def _of_choices(values: Sequence[Any], names: Sequence[str] | None, task: Mapping[str, Any]) -> dict[str, Any]:
    return {}


def _of_questions(values: Sequence[Any], names: Sequence[str] | None, task: Mapping[str, Any]) -> dict[str, Any]:
    """Return whether questions may go without an answer, as one of these does."""
    missing = sum(map(is_missing, values)) - sum(value == "" for value in values)
    told = "where a question has no answer, its answers are an empty list or an empty text"
    require(not missing, f"no label in {missing} of {len(values)} rows; {told}")
    options = dict(task.get("options") or {})
    if "unanswerable" in options or all(map(_answers, values)):
        return {}
    return {"options": {**options, "unanswerable": True}}


INFERENCES: dict[str, Callable[[Sequence[Any], Sequence[str] | None, Mapping[str, Any]], dict[str, Any]]] = {
    "texts": _of_texts,
    "words": _of_words,
    "choices": _of_choices,
    "images": _of_images,
    "questions": _of_questions,
}


def _answers(value: Any) -> bool:
    return bool(value.get("text")) if isinstance(value, Mapping) else bool(value)


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def _in_order(label: str) -> tuple[bool, float, str]:
    """Return what labels are ordered by: numbers by size, before texts by their letters; never by the rows' order."""
    number = _number(label)
    return number is None, number or 0.0, label
