"""Files of other releases than GLUE's: what becomes of their rows, and the one line for what is wrong with them."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from peftlab.errors import UserError
from peftlab.tasks.kind import kind_of
from peftlab.tasks.sources.splits import load_splits
from tasks.shipped import shipped


def written(root: Path, name: str, train: str, other: str | None = None) -> Path:
    """Write the files of a task's splits; all but train hold `other`, else the same as train."""
    source = shipped(name).files
    assert source is not None
    for split, file in source.splits.items():
        path = root / source.folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(train if split == "train" else other or train, encoding="utf-8")
    return root


def lines(*rows: Mapping[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def squad(*questions: Mapping[str, Any], context: str | None = "a bird sang in the garden") -> str:
    return json.dumps({"data": [{"paragraphs": [{"context": context, "qas": list(questions)}]}]})


def asked(name: str, text: str, start: int) -> dict[str, Any]:
    return {"id": name, "question": "who?", "answers": [{"text": text, "answer_start": start}]}


COPA = {"premise": "It rained.", "question": "effect", "choice1": "Streets dried.", "choice2": "Streets got wet."}
WIC = {
    "word": "bank",
    "sentence1": "A bank.",
    "sentence2": "The banks.",
    "start1": 2,
    "end1": 6,
    "start2": 4,
    "end2": 9,
}
WSC = {"span1_index": 0, "span1_text": "Ann", "span2_index": 3, "span2_text": "she"}
MULTIRC = {
    "passage": {
        "text": "Ann sang.",
        "questions": [{"question": "Who?", "answers": [{"text": "Ann", "label": 1}, {"text": "Bob", "label": 0}]}],
    }
}
RECORD = {
    "passage": {
        "text": "Ann met Bob.\n@highlight\nIt rained.",
        "entities": [{"start": 0, "end": 2}, {"start": 8, "end": 10}],
    },
    "qas": [{"query": "@placeholder sang.", "answers": [{"text": "Bob", "start": 8, "end": 10}]}],
}

MADE: list[tuple[str, str, dict[str, Any]]] = [
    (
        "copa",
        lines({**COPA, "label": 1}),
        {"text_a": "It rained so", "choices": ["Streets dried.", "Streets got wet."], "label": 1},
    ),
    ("wic", lines({**WIC, "label": True}), {"text_a": "A * bank *.", "text_b": "The * banks *.", "label": 1}),
    (
        "wsc",
        lines({"text": "Ann sang because she wept.", "target": WSC, "label": False}),
        {"text_a": "Ann sang because * she * wept.", "text_b": "Ann", "label": 0},
    ),
    ("multirc", lines(MULTIRC), {"text_a": "Ann sang.", "choices": ["Who? Ann", "Who? Bob"], "label": [1, 0]}),
    (
        "record",
        lines(RECORD),
        {
            "text_a": "Ann met Bob. It rained.",
            "choices": ["Ann sang.", "Bob sang."],
            "names": ["Ann", "Bob"],
            "label": ["Bob"],
        },
    ),
    (
        "squad",
        squad(asked("q1", "a bird", 0)),
        {
            "id": "q1",
            "question": "who?",
            "context": "a bird sang in the garden",
            "label": {"text": ["a bird"], "answer_start": [0]},
        },
    ),
    (
        "wnut17",
        "New\tB-location\nYork\tI-location\n\t\nok\tO\n",
        {"tokens": ["New", "York"], "label": ["B-location", "I-location"]},
    ),
    ("conll2003", "-DOCSTART- -X- O O\n\nAnn NNP I-NP I-PER\n", {"tokens": ["Ann"], "label": ["B-PER"]}),
    (
        "swag",
        'sent1,sent2,ending0,ending1,ending2,ending3,label\n"A, b.",She,sang.,ate.,ran.,slept.,2\n',
        {"text_a": "A, b.", "choices": ["She sang.", "She ate.", "She ran.", "She slept."], "label": 2},
    ),
    (
        "hellaswag",
        lines({"ctx_a": "[header] Sing", "ctx_b": "he", "endings": ["runs [title] Far", "eats"], "label": 0}),
        {"text_a": "Sing", "choices": ["he runs. Far", "he eats"], "label": 0},
    ),
    ("cb", lines({"premise": "p", "hypothesis": "h", "label": "neutral"}), {"text_a": "p", "text_b": "h", "label": 2}),
]


@pytest.mark.parametrize(("name", "content", "row"), MADE, ids=[name for name, *_ in MADE])
def test_a_row_of_a_release_becomes_one_of_the_kind(
    name: str, content: str, row: dict[str, Any], tmp_path: Path
) -> None:
    assert load_splits(shipped(name), written(tmp_path, name, content))["train"][0] == row


BAD: list[tuple[str, str, str]] = [
    ("squad", squad(asked("q", "a bird", 0), context=None), "question without context"),
    ("squad", squad(asked("q", "a bird", 0), context=" "), "question without context"),
    ("squad", squad(asked("q", "a bird", 0), asked("q", "a bird", 0)), "id 'q' stands there twice"),
    ("squad", squad({"id": "q", "question": "who?", "answers": []}), "question without an answer"),
    ("squad", squad(asked("q", "a cat", 0)), "no answer is in its context at its place"),
    ("squad", "{", "not JSON"),
    ("squad", "[]", "no list 'data'"),
    ("squad", "", "the file is empty"),
    ("wnut17", "New\tB-planet\n", "label 'B-planet'; allowed are O, B-corporation"),
    ("wnut17", "New\n", ":1: a word and its tag are expected"),
    ("wnut17", "\n\n", "the file is empty"),
    ("copa", lines({**COPA, "label": 2}), "label 2; allowed are 0 to 1, the places of the choices"),
    ("copa", lines({**COPA, "question": "why", "label": 1}), "question 'why'; allowed are cause, effect"),
    ("copa", lines(COPA), "no column 'label'; the columns are premise"),
    ("copa", lines({**COPA, "choice1": " ", "label": 1}), "choices: one of them is empty"),
    (
        "hellaswag",
        lines({"ctx_a": "a", "ctx_b": "b", "endings": ["c"], "label": 0}),
        "choices: 1; allowed are two or more",
    ),
    (
        "hellaswag",
        lines(*({"ctx_a": "a", "ctx_b": "b", "endings": ["c"] * number, "label": 0} for number in (2, 3))),
        "example 1 has 3 choices, those before it 2",
    ),
    ("wic", lines({**WIC, "end1": 99, "label": True}), "start1=2, end1=99: no span of sentence1"),
    ("wsc", lines({"text": "Ann", "target": WSC, "label": True}), "span2_index=3: allowed are 0 to 0"),
    ("cb", lines({"premise": "p", "label": "neutral"}), "no column 'hypothesis'; the columns are premise, label"),
    ("cb", "[1]\n", "must be a JSON object, found list"),
    ("swag", "sent1,sent2\na\n", "1 columns where 2 are expected"),
    ("swag", "sent1;sent2\na;b\n", ":1: columns are divided by semicolons; allowed are commas in .csv, tabs in .tsv"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_what_is_wrong_with_a_file_is_one_line(name: str, content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_splits(shipped(name), written(tmp_path, name, content))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_answer_that_is_not_at_its_place_is_skipped_in_training_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = squad(asked("one", "a bird", 0), asked("two", "a bird", 3))
    found = load_splits(shipped("squad"), written(tmp_path, "squad", content))
    assert (found["train"]["id"][:], found["validation"]["id"][:]) == (["one"], ["one", "two"])
    assert "1 of 2 questions are skipped: the answer is not at its place" in caplog.text


def test_tokens_and_tags_of_different_number_are_refused() -> None:
    with pytest.raises(UserError, match="2 tokens and 1 tags; allowed is one for each"):
        kind_of(shipped("wnut17")).check_row({"tokens": ["a", "b"], "label": ["O"]})


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["O", "PER"], "PER: allowed are O, B-TYPE and I-TYPE"),
        (["O", "I-PER"], "I-PER without its B-TYPE"),
        (["B-PER", "I-PER"], "allowed are O and one type or more"),
    ],
)
def test_labels_that_are_no_scheme_of_tags_are_refused(labels: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        kind_of(dataclasses.replace(shipped("wnut17"), labels=labels))


REAL = {"copa": (400, 100), "cb": (250, 56), "wic": (5428, 638), "wnut17": (3394, 1009), "squad": (9918, 1959)}


@pytest.mark.parametrize("name", REAL)
def test_real_releases_are_read_whole(name: str, shared_data: Path) -> None:
    found = load_splits(shipped(name), shared_data)
    assert (len(found["train"]), len(found["validation"])) == REAL[name]


@pytest.mark.parametrize("name", ["fewglue-cb", "fewglue-copa", "fewglue-wic"])
def test_fewglue_has_32_examples_and_superglues_validation_set_as_test(name: str, shared_data: Path) -> None:
    found = load_splits(shipped(name), shared_data)
    assert set(found) == {"train", "test"}
    assert len(found["train"]) == 32
