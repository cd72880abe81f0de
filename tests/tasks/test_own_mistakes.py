"""A mistake in a user's own file: one line with file, row and what is allowed."""

import json
from pathlib import Path
from typing import Any

import pytest

from peftlab.errors import UserError
from peftlab.tasks.sources.splits import load_splits
from runs import refused, small
from tasks.own_files import GOOD, described, write

MISTAKES: list[tuple[str, list[dict[str, Any]] | str, dict[str, Any], str]] = [
    ("text", GOOD, {"text": ["sentence"]}, "no column 'sentence'; the columns are text, label"),
    ("text", GOOD, {"label": "lable"}, "no column 'lable' (did you mean label?); the columns are text, label"),
    ("text", [{"text": "a", "other": 1}], {}, "no label column; the columns are text, other; data.label=NAME names it"),
    (
        "text",
        [{"a": "a", "b": "b", "c": "c", "label": 1}],
        {},
        "holds a text; the columns are a, b, c, label; data.text=",
    ),
    ("text", GOOD, {"text": ["text", "label", "text"]}, "a text takes 1 or 2 columns"),
    ("text", [{"text": "a", "label": "x"}] * 2, {}, "column 'label': all rows have the label 'x'; allowed are two"),
    ("text", [{"text": "a", "label": f"x{i}"} for i in range(30)], {}, "30 unlike labels in 30 rows are no classes"),
    ("text", "", {}, "a.jsonl: the file is empty"),
    ("text", "\n\n", {}, "a.jsonl: the file is empty"),
    ("text", '{"text": "a", "label": "x"}\n[1]\n', {}, "a.jsonl:2: must be a JSON object, found list"),
    (
        "text",
        [{"text": "a", "label": "x"}, {"text": "b"}, {"text": "c", "label": "y"}, {"text": "d", "label": " "}],
        {},
        "column 'label': no label in 2 of 4 rows",
    ),
    (
        "text",
        [{"text": "a", "label": [0]}, {"text": "b", "label": [1]}],
        {},
        "label [0]; allowed are texts and numbers",
    ),
    (
        "text",
        [{"text": "a", "label": 1}, {"text": "b", "label": 1.0}, {"text": "c", "label": 2}],
        {},
        "labels 1 and 1.0 are one number; allowed is one spelling",
    ),
    ("tokens", [{"tokens": ["a"], "tags": ["NN"]}], {}, "tag 'NN'; allowed are O, B-TYPE and I-TYPE (IOB2)"),
    ("tokens", [{"tokens": ["a"], "tags": ["O"]}], {}, "no word has a tag other than O"),
    (
        "tokens",
        [{"tokens": ["a"], "tags": ["B-X", "O"]}],
        {},
        "a.jsonl:1: 1 tokens and 2 tags; allowed is one for each",
    ),
    ("choice", [{"text": "a", "choices": ["b"], "label": 0}], {}, "a.jsonl:1: choices: 1; allowed are two or more"),
    (
        "choice",
        [{"text": "a", "choices": ["b", "c"], "label": 0}, {"text": "a", "choices": ["b", "c", "d"], "label": 0}],
        {},
        "example 1 has 3 choices, those before it 2",
    ),
    ("choice", [{"text": "a", "choices": ["b", "c"], "label": 2}], {}, "a.jsonl:1: label 2; allowed are 0 to 1"),
    *(
        ("choice", [{"text": "a", "choices": cell, "label": 0}], {}, f"a.jsonl:1: {message}")
        for cell, message in (
            (
                "stays in, goes out",
                'choices \'stays in, goes out\': allowed is a list, ["one", "other"], or a column for',
            ),
            ("5", "choices '5': allowed is a list"),
            ("['b', 'c']", "choices \"['b', 'c']\": allowed is a list"),
        )
    ),
    ("tokens", [{"tokens": '["a", "b', "tags": "B-X O"}], {}, "a list: not JSON"),
    ("questions", [{"question": "q", "context": None, "answer": "b"}], {}, "question without context"),
    (
        "questions",
        [{"question": "q", "context": "a b", "answer": "b"}, {"question": "r", "context": "a b", "answer": None}],
        {},
        "column 'answer': no label in 1 of 2 rows; where a question has no answer, its answers are an empty list",
    ),
    *(
        ("questions", [{"question": "q", "context": "a b", "answers": answers}], {}, message)
        for answers, message in (
            (["b"], "a.jsonl:1: answers ['b']; allowed is a list of tables, each with text and answer_start"),
            (5, "a.jsonl:1: answers 5; allowed is a list of tables"),
            ([{"text": "b"}], "a.jsonl:1: answers: {'text': 'b'} without answer_start"),
            ({"text": "b", "answer_start": 2}, "a.jsonl:1: answers: text 'b'; allowed is a list of texts"),
            ({"text": ["b"], "answer_start": 2}, "answers: answer_start 2; allowed is a list of whole numbers"),
            ({"text": ["b"], "answer_start": [2.0]}, "answers: answer_start [2.0]; allowed is a list of whole numbers"),
            ({"text": None, "answer_start": None}, "answers: text None; allowed is a list of texts"),
            ({"text": ["b"], "answer_start": []}, "answers: 1 texts and 0 places; allowed is a place for each text"),
        )
    ),
    ("text", [{"id": 1, **GOOD[0]}, {"id": 1, **GOOD[1]}], {}, "a.jsonl:2: id 1 stands in line 1 already"),
    ("text", GOOD, {"validation": 1.5}, "data.validation=1.5: allowed is a file, or a share in (0, 1)"),
    ("text", GOOD, {"validation": "nowhere.csv"}, "nowhere.csv: no such file"),
]


@pytest.mark.parametrize(("task", "rows", "data", "message"), MISTAKES)
def test_a_mistake_in_a_file_is_one_line(task, rows, data, message, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(rows if isinstance(rows, str) else "".join(f"{json.dumps(row)}\n" for row in rows))
    with pytest.raises(UserError) as caught:
        load_splits(described(task, train=path, **{"validation": path, **data}), None)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_label_seen_only_in_validation_is_refused_with_its_line(tmp_path: Path):
    train, dev = write(tmp_path / "a.csv", GOOD), write(tmp_path / "dev.csv", [*GOOD, {"text": "c", "label": "z"}])
    with pytest.raises(UserError, match=r"dev\.csv:4: label 'z'; allowed are x, y"):
        load_splits(described("text", train=train, validation=dev), None)


@pytest.mark.parametrize("name", ["a.xlsx", "a.py", "a"])
def test_a_file_of_another_format_is_refused(name: str, tmp_path: Path):
    (tmp_path / name).write_text("text,label\n")
    with pytest.raises(UserError, match=r"the format is unknown; allowed are names that end with \.csv, \.tsv"):
        described("text", train=tmp_path / name)


def test_a_folder_that_datasets_did_not_write_is_refused(tmp_path: Path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved.py").write_text("raise SystemExit('run')")
    with pytest.raises(UserError, match="no folder that `save_to_disk` of datasets wrote"):
        described("text", train=tmp_path / "saved")


def test_a_mistake_in_a_file_is_told_before_there_is_a_record(tmp_path: Path):
    path = write(tmp_path / "a.csv", GOOD)
    told = refused(small(f"task=text data.train={path} data.label=lable", "bitfit"), tmp_path / "run")
    assert told.startswith(f"{path}: no column 'lable'")
    assert not any((tmp_path / "run").iterdir())
