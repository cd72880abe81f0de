"""Reading the GLUE release: the real files where they are, and every way in which a file may be broken."""

import hashlib
import logging
from pathlib import Path
from typing import Any

import pytest

from peftlab.errors import UserError
from peftlab.tasks.sources.splits import describe_source, load_splits
from peftlab.tasks.task import Task
from tasks.shipped import shipped

HEADER = b"index\tsentence1\tsentence2\tlabel\n"
GOOD = HEADER + b"0\tA bird sang.\tA sparrow sang.\tnot_entailment\n"


def write_rte(root: Path, train: bytes = GOOD, dev: bytes | None = GOOD) -> Path:
    (root / "RTE").mkdir(parents=True)
    (root / "RTE" / "train.tsv").write_bytes(train)
    if dev is not None:
        (root / "RTE" / "dev.tsv").write_bytes(dev)
    return root


@pytest.mark.parametrize(
    ("name", "train", "validation"),
    [
        ("cola", 8551, 1043),
        ("mrpc", 3668, 408),
        ("rte", 2490, 277),
        ("sst2", 67349, 872),
        ("stsb", 5749, 1500),
        ("qnli", 19476, 5463),
        ("mnli", 9999, 9815),
    ],
)
def test_the_real_files_have_the_rows_that_their_sources_state(
    shared_data: Path, name: str, train: int, validation: int
):
    splits = load_splits(shipped(name), shared_data)
    assert {split: len(rows) for split, rows in splits.items()} == {"train": train, "validation": validation}


def test_labels_and_texts_of_the_real_files_are_those_of_their_first_rows(shared_data: Path):
    mrpc, cola, stsb, rte = (
        load_splits(shipped(name), shared_data)["train"] for name in ("mrpc", "cola", "stsb", "rte")
    )
    assert mrpc[0] == {
        "text_a": 'Amrozi accused his brother, whom he called "the witness", of deliberately distorting his evidence.',
        "text_b": 'Referring to him as only "the witness", Amrozi accused his brother of deliberately distorting '
        "his evidence.",
        "label": 1,
    }
    assert cola[0] == {
        "text_a": "Our friends won't buy this analysis, let alone the next one we propose.",
        "label": 1,
    }
    assert (stsb[0]["label"], str(stsb.features["label"].dtype)) == (5.0, "float32")
    assert (rte[0]["label"], str(rte.features["label"].dtype)) == (1, "int64")


def test_the_class_counts_of_mnli_are_those_of_dev_matched(shared_data: Path):
    labels = load_splits(shipped("mnli"), shared_data)["validation"]["label"][:]
    assert [labels.count(label) for label in range(3)] == [3479, 3123, 3213]


def test_a_missing_mismatched_file_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "MNLI").mkdir()
    for name in ("train", "dev_matched"):
        (tmp_path / "MNLI" / f"{name}.tsv").write_text("sentence1\tsentence2\tgold_label\na\tb\tneutral\n")
    with caplog.at_level(logging.WARNING):
        assert list(load_splits(shipped("mnli"), tmp_path)) == ["train", "validation"]
    assert "continuing without validation_mismatched" in caplog.text
    (tmp_path / "MNLI" / "dev_mismatched.tsv").write_text("sentence1\tsentence2\tgold_label\na\tb\tneutral\n")
    assert list(load_splits(shipped("mnli"), tmp_path)) == ["train", "validation", "validation_mismatched"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"\xef\xbb\xbf" + GOOD, id="byte order mark"),
        pytest.param(GOOD.replace(b"\n", b"\r\n"), id="Windows line ends"),
        pytest.param(GOOD.removesuffix(b"\n"), id="no line end at the end"),
        pytest.param(GOOD + b"\n\n", id="empty lines at the end"),
    ],
)
def test_harmless_differences_change_nothing(tmp_path: Path, content: bytes):
    splits = load_splits(shipped("rte"), write_rte(tmp_path, train=content))
    assert splits["train"][:] == splits["validation"][:]


def test_quotes_and_separators_inside_a_sentence_are_text(tmp_path: Path):
    text = 'an "unbalanced quote, a\u2028separator and a \x85'
    content = f"index\tsentence1\tsentence2\tlabel\n0\t{text}\tb\tentailment\n"
    splits = load_splits(shipped("rte"), write_rte(tmp_path, train=content.encode()))
    assert splits["train"][:] == {"text_a": [text], "text_b": ["b"], "label": [0]}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (GOOD + b"1\tonly three\tentailment\n", "train.tsv:3: 3 columns where 4 are expected"),
        (GOOD + b"1\ta\tb\tc\tentailment\n", "train.tsv:3: 5 columns where 4 are expected"),
        (GOOD + b"\n" + b"1\ta\tb\tentailment\n", "train.tsv:3: 1 columns where 4 are expected"),
        (GOOD + b"1\ta\tb\tmaybe\n", "train.tsv:3: label 'maybe'; allowed are entailment, not_entailment"),
        (GOOD + b"1\ta\tb\t\n", "train.tsv:3: label ''"),
        (GOOD + b"1\ta\xff\tb\tentailment\n", "train.tsv:3: not UTF-8 (invalid start byte at byte 3)"),
        (b"", "train.tsv: the file is empty"),
        (b"\n\n", "train.tsv: the file is empty"),
        (HEADER, "train.tsv: empty, no example in it"),
        (b"index\tsentence1\tlabel\n0\ta\tentailment\n", "train.tsv:1: no column 'sentence2'; the columns are index,"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(tmp_path: Path, train: bytes, message: str):
    with pytest.raises(UserError) as caught:
        load_splits(shipped("rte"), write_rte(tmp_path, train=train))
    assert message in str(caught.value)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("score", ["high", "nan", "inf", "-0.1", "5.01", ""])
def test_a_score_outside_the_range_is_refused_with_its_line(tmp_path: Path, score: str):
    (tmp_path / "STS-B").mkdir()
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "STS-B" / name).write_text(f"sentence1\tsentence2\tscore\na\tb\t5.000\na\tb\t{score}\n")
    with pytest.raises(UserError, match=r"train\.tsv:3: score '.*'; allowed are numbers from 0\.0 to 5\.0"):
        load_splits(shipped("stsb"), tmp_path)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"task=rte: .*dev\.tsv is missing under data\.root="):
        load_splits(shipped("rte"), write_rte(tmp_path, dev=None))


def test_a_missing_root_is_named(tmp_path: Path):
    with pytest.raises(UserError, match=r"data\.root=.*nowhere: no such folder"):
        load_splits(shipped("rte"), tmp_path / "nowhere")


def test_only_qqp_goes_on_without_rows_that_lack_columns(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "QQP").mkdir()
    content = (
        "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n0\t1\t2\ta?\tb?\t1\n1\t3\t4\tcut\n2\t5\t6\tc?\td?\t0\n"
    )
    for name in ("train.tsv", "dev.tsv"):
        (tmp_path / "QQP" / name).write_text(content)
    with caplog.at_level(logging.WARNING):
        rows = load_splits(shipped("qqp"), tmp_path)["train"][:]
    assert rows == {"text_a": ["a?", "c?"], "text_b": ["b?", "d?"], "label": [1, 0]}
    assert "1 rows that lack columns were skipped" in caplog.text


def test_the_source_of_files_is_their_folder_and_hashes(tmp_path: Path):
    source = describe_source(shipped("rte"), write_rte(tmp_path))
    digest = hashlib.sha256(GOOD).hexdigest()
    assert source == {"folder": "RTE", "files": {"train.tsv": digest, "dev.tsv": digest}}


def test_a_user_adds_a_task_with_a_description_alone(tmp_path: Path):
    mine: dict[str, Any] = {
        "name": "mine",
        "labels": ["spam", "ham"],
        "metrics": ["matthews"],
        "files": {
            "folder": ".",
            "header": ["kind", "text"],
            "text": ["text"],
            "label": "kind",
            "splits": {"train": "a.tsv", "validation": "b.tsv"},
        },
    }
    for name in ("a.tsv", "b.tsv"):
        (tmp_path / name).write_text("ham\thello\nspam\tbuy\n")
    task = Task.from_config(mine)
    assert load_splits(task, tmp_path)["train"][:] == {"text_a": ["hello", "buy"], "label": [1, 0]}
    with pytest.raises(UserError, match=r"task=mine names no Hub dataset; data\.root=FOLDER"):
        load_splits(task, None)
