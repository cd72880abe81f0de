"""A user's own files: every format gives the same examples, the training file says what is learnt."""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from peftlab.errors import UserError
from peftlab.prediction.given import from_file
from peftlab.tasks.kind import kind_of
from peftlab.tasks.sources.splits import describe_source, load_splits, source_stamp
from runs import small
from tasks.own_files import KINDS, described, write
from tasks.shipped import FOLDER, shipped

ROWS = [
    {"premise": 'a "bird", sang\nloudly', "hypothesis": "a\tsparrow", "label": "yes"},
    {"premise": "no bird sang", "hypothesis": "no sparrow", "label": "no"},
    {"premise": "ein Vogel, öfter", "hypothesis": "", "label": "yes"},
]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "saved"])
def test_every_format_gives_the_same_examples(name: str, tmp_path: Path):
    path = write(tmp_path / name, ROWS)
    task = described("text", train=path, validation=path)
    assert task.labels == ["no", "yes"]
    assert load_splits(task, None)["train"].to_list() == [
        {"text_a": row["premise"], "text_b": row["hypothesis"], "label": int(row["label"] == "yes")} for row in ROWS
    ]


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ('["New", "York"]', ["New", "York"]),
        ("New York", ["New", "York"]),
        ("[ 12 is cited", ["[", "12", "is", "cited"]),
        ("[1] says so", ["[1]", "says", "so"]),
    ],
)
def test_words_are_a_list_or_stand_between_blanks_and_may_begin_with_a_bracket(cell, words, tmp_path: Path):
    path = write(tmp_path / "a.csv", [{"tokens": cell, "tags": " ".join(["B-X", *["O"] * (len(words) - 1)])}])
    assert load_splits(described("tokens", train=path, validation=path), None)["train"][0]["tokens"] == words


def test_a_file_of_the_release_is_read_as_the_release_reads_it(shared_data: Path):
    folder = shared_data / "RTE"
    splits = load_splits(described("text", train=folder / "train.tsv", validation=folder / "dev.tsv"), None)
    for name, rows in load_splits(shipped("rte"), shared_data).items():
        assert splits[name].to_list() == rows.to_list()


def test_quotation_marks_that_enclose_no_values_are_text(tmp_path: Path):
    (tmp_path / "a.tsv").write_text('text\tlabel\n"well\t0\nso" he said\t1\n"one\t0\ntwo"\t1\n')
    path = tmp_path / "a.tsv"
    rows = load_splits(described("text", train=path, validation=path), None)["train"]
    assert rows["text_a"][:] == ['"well', 'so" he said', '"one', 'two"']


LABELS: list[tuple[list[Any], dict[str, Any]]] = [
    (["b", "a", "b"], {"labels": ["a", "b"], "metrics": ["accuracy", "macro_f1"], "kind_name": "classification"}),
    ([10, 2, 10], {"labels": ["2", "10"], "kind_name": "classification"}),
    ([True, False, True], {"labels": ["False", "True"]}),
    ([0.5, 4, 2.25], {"range": [0.0, 4.0], "metrics": ["spearman", "pearson"], "kind_name": "regression"}),
    (["-1.5", "3", "3"], {"range": [-2.0, 3.0], "kind_name": "regression"}),
    ([1.0, 0.0, 1.0], {"labels": ["0.0", "1.0"]}),
]


@pytest.mark.parametrize(("values", "found"), LABELS)
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_labels_say_the_kind(values: list[Any], found: dict[str, Any], name: str, tmp_path: Path):
    path = write(tmp_path / name, [{"text": f"text {i}", "label": value} for i, value in enumerate(values)])
    task = described("text", train=path, validation=path)
    assert {key: getattr(task, key) for key in found} == found


def test_class_names_of_a_saved_dataset_keep_their_order_and_its_splits_are_found(tmp_path: Path):
    features = Features(text=Value("string"), label=ClassLabel(names=["worse", "better"]))
    rows = Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    DatasetDict({"train": rows, "validation": rows.select([1]), "test": rows}).save_to_disk(str(tmp_path / "all"))
    task = described("text", train=tmp_path / "all")
    assert task.labels == ["worse", "better"]
    splits = load_splits(task, None)
    assert {name: rows["label"][:] for name, rows in splits.items()} == {
        "train": [1, 0],
        "validation": [0],
        "test": [1, 0],
    }


def test_a_label_that_pandas_lacks_is_no_class(tmp_path: Path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a", "b", "c"], "label": pa.array([0.0, 1.0, float("nan")])}), path)
    with pytest.raises(UserError, match="column 'label': no label in 1 of 3 rows"):
        described("text", train=path)


COLUMNS = [
    ("text", {"Sentence": "a", "idx": 1, "Label": "x"}, ["Sentence"], "Label"),
    ("text", {"body": "a", "id": 1, "label": "x"}, ["body"], "label"),
    ("text", {"question1": "a", "question2": "b", "text": "c", "class": "x"}, ["question1", "question2"], "class"),
    (
        "choice",
        {"premise": "a", "choice2": "c", "choice1": "b", "label": 0},
        ["premise", "choice1", "choice2"],
        "label",
    ),
    (
        "choice",
        {"premise": "a", **{f"choice{number}": f"c{number}" for number in range(12)}, "label": 10},
        ["premise", *(f"choice{number}" for number in range(12))],
        "label",
    ),
    (
        "choice",
        {"question": "a", "Option B": "c", "option a": "b", "label": 0},
        ["question", "option a", "Option B"],
        "label",
    ),
    ("choice", {"question": "a", "options": ["b", "c"], "answer": 1}, ["question", "options"], "answer"),
    ("tokens", {"words": ["a"], "ner_tags": ["B-X"]}, ["words"], "ner_tags"),
    ("questions", {"context": "a b", "question": "q", "answer": "b"}, ["question", "context"], "answer"),
]


@pytest.mark.parametrize(("task", "row", "text", "label"), COLUMNS)
def test_columns_are_guessed_by_their_names_and_said(task, row, text, label, tmp_path, caplog):
    other = {**row, label: "y"} if task == "text" else row
    rows = [row, {**other, **({"id": 2} if "id" in row else {})}]
    with caplog.at_level(logging.INFO):
        found = described(task, train=write(tmp_path / "a.jsonl", rows), validation=0.5)
    assert found.own is not None
    assert (found.own.text, found.own.label) == (text, label)
    for name in (*text, label):
        assert f"{name} (guessed)" in caplog.text
    assert "0.5 of" in caplog.text


def test_cells_of_a_csv_file_hold_lists_words_and_answers(tmp_path: Path):
    tokens = write(
        tmp_path / "t.csv", [{"tokens": "new york is", "tags": "B-LOC I-LOC O"}, {"tokens": '["a b"]', "tags": '["O"]'}]
    )
    rows = load_splits(described("tokens", train=tokens, validation=tokens), None)["train"]
    assert rows["tokens"][:] == [["new", "york", "is"], ["a b"]]
    assert rows["label"][:] == [["B-LOC", "I-LOC", "O"], ["O"]]
    choice = write(tmp_path / "c.csv", [{"text": "a", "choices": '["b", "c d"]', "label": 1}])
    assert load_splits(described("choice", train=choice, validation=choice), None)["train"]["choices"][:] == [
        ["b", "c d"]
    ]
    asked = [
        {"question": "who?", "context": "ann met ann", "answer": "ann", "answer_start": 8},
        {"question": "whom?", "context": "ann met bob", "answer": "bob", "answer_start": ""},
    ]
    path = write(tmp_path / "q.csv", asked)
    labels = load_splits(described("questions", train=path, validation=path), None)["train"]["label"][:]
    assert labels == [{"text": ["ann"], "answer_start": [8]}, {"text": ["bob"], "answer_start": [8]}]


def test_a_question_without_answer_makes_a_task_where_answers_may_be_missing(tmp_path: Path):
    rows = [{"question": "q", "context": "a b", "answer": answer} for answer in ("b", "")]
    task = described("questions", train=write(tmp_path / "q.csv", rows), validation=0.5)
    assert task.options == {"unanswerable": True}


def test_a_stated_share_is_held_out_and_equal_texts_stay_together(tmp_path: Path):
    rows = [{"text": f"text {i % 20}", "label": i % 2} for i in range(40)]
    task = described("text", train=write(tmp_path / "a.jsonl", rows), validation=0.2)
    splits = load_splits(task, None)
    assert {name: len(found) for name, found in splits.items()} == {"train": 32, "validation": 8}
    assert not set(splits["train"]["text_a"][:]) & set(splits["validation"]["text_a"][:])
    assert load_splits(task, None)["validation"].to_list() == splits["validation"].to_list()
    assert describe_source(task, None)["held_out"] == 0.2


@pytest.mark.parametrize(
    ("numbers", "share", "held"),
    [
        ((90, 10), 0.1, {0: 9, 1: 1}),
        ((30, 25, 5), 0.1, {0: 3, 1: 2, 2: 1}),  # 3, 2.5 and 0.5: by largest remainders, six in all
        ((20, 1), 0.5, {0: 10}),  # what a class has one of is trained on
        ((1, 1), 0.1, {1: 1}),
    ],
)
def test_of_every_class_its_share_is_held_out(numbers, share, held, tmp_path: Path):
    labels = [label for label, number in enumerate(numbers) for _ in range(number)]
    rows = [{"text": f"text {i}", "label": label} for i, label in enumerate(labels)]
    splits = load_splits(described("text", train=write(tmp_path / "a.jsonl", rows), validation=share), None)
    assert Counter(splits["validation"]["label"][:]) == held
    assert len(splits["train"]) + len(splits["validation"]) == len(rows)


def test_content_and_not_place_or_format_is_what_a_run_knows_data_by(tmp_path: Path):
    from peftlab.cache import RunCache
    from peftlab.data.raw_splits import read_raw_splits

    paths = [write(tmp_path / name, ROWS) for name in ("a.csv", "b.parquet")]
    hashes = [
        read_raw_splits(described("text", train=path, validation=path), None, RunCache()).hashes for path in paths
    ]
    assert hashes[0] == hashes[1]
    task = described("text", train=paths[0], validation=paths[0])
    before = source_stamp(task, None)
    write(paths[0], [*ROWS, {"premise": "x", "hypothesis": "y", "label": "no"}])
    assert source_stamp(task, None) != before
    assert read_raw_splits(task, None, RunCache()).hashes != hashes[0]


@pytest.mark.parametrize("name", sorted(KINDS))
def test_the_shipped_tasks_are_of_these_kinds(name: str):
    assert shipped(name).own is not None
    assert (FOLDER / f"{name}.yaml").is_file()
    assert shipped(name).kind == (KINDS[name] or None)


def test_a_run_of_own_files_records_what_was_inferred(tmp_path: Path):
    rows = [{"text": f"a bird {i} sang", "label": ("no", "yes")[i % 2]} for i in range(40)]
    path = write(tmp_path / "a.csv", rows)
    from peftlab.run import run

    record = run(small(f"task=text data.train={path} data.cache_dir=null", "bitfit"), tmp_path / "run")
    assert record.status == "finished"
    assert record.config["task"]["labels"] == ["no", "yes"]
    assert record.data["examples"] == {"train": 36, "validation": 4}
    assert record.data["source"]["held_out"] == 0.1


@pytest.mark.parametrize("name", ["new.csv", "new.parquet", "saved"])
def test_predictions_read_any_format_with_the_columns_of_training_labelled_or_not(name: str, tmp_path: Path):
    train = write(tmp_path / "a.csv", [{"a": "bird", "b": "sang", "gold": label} for label in ("x", "y")])
    kind = kind_of(described("text", train=train, validation=train, text=["b", "a"], label="gold"))
    path = write(tmp_path / name, [{"a": "dog", "b": "slept"}])
    (given,) = from_file(kind, path)
    assert (given.row["text_a"], given.row["text_b"], given.labelled) == ("slept", "dog", False)
    assert [given.labelled for given in from_file(kind, train)] == [True, True]


def test_answers_that_a_test_set_hides_are_no_label_and_no_mistake(tmp_path: Path):
    asked = {"question": "who?", "context": "ann met bob"}
    train = write(tmp_path / "a.jsonl", [{**asked, "answer": "ann"}])
    kind = kind_of(described("questions", train=train, validation=train))
    hidden = write(tmp_path / "new.csv", [{**asked, "answer": answer} for answer in ("ann", "")])
    assert [given.labelled for given in from_file(kind, hidden)] == [True, False]


def test_a_label_that_is_no_number_is_none_to_predict(tmp_path: Path):
    train = write(tmp_path / "a.jsonl", [{"text": "a", "label": 0.5}, {"text": "b", "label": 2.0}])
    kind = kind_of(described("text", train=train, validation=train))
    path = tmp_path / "new.parquet"
    pq.write_table(pa.table({"text": ["a", "b"], "label": pa.array([1.0, float("nan")])}), path)
    assert [given.labelled for given in from_file(kind, path)] == [True, False]
