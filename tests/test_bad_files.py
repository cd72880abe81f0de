"""Whatever is wrong with data, folders or disks is told in one line, and nothing of the user's is written over."""

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peftlab.results.record import RunRecord
from peftlab.run import run
from runs import refused, small, write_rte, write_split

HEADER = "index\tsentence1\tsentence2\tlabel"
ROW = "0\ta bird sang\ta dog sang\tentailment"

# What RTE's train.tsv holds instead, where it is wrong, and what is said.
FILES = [
    (None, "", "is missing under data.root="),
    (b"", "", "the file is empty"),
    (HEADER, "", "empty, no example in it"),
    (f"index\tsentence1\tlabel\n{ROW}", ":1", "no column 'sentence2'; the columns are index, sentence1, label"),
    (f"{HEADER}\n{ROW}\n1\tshort\trow", ":3", "3 columns where 4 are expected"),
    (f"{HEADER}\n{ROW}\n{ROW}\textra", ":3", "5 columns where 4 are expected"),
    (f"{HEADER}\n{ROW[:-10]}perhaps", ":2", "label 'perhaps'; allowed are entailment, not_entailment"),
    (HEADER.encode() + b"\n0\tcaf\xe9\tdog\tentailment", ":2", "not UTF-8"),
    (f"{HEADER}\n{ROW}".encode("utf-16"), ":1", "not UTF-8"),
    (b"\x1f\x8b\x08" + bytes(60), ":1", "not UTF-8"),
    (f"{HEADER}\n{ROW}".replace("\t", ","), ":1", "no column 'sentence1'; the columns are index,sentence1,"),
    (f"{HEADER}\n{ROW}\n1\ta bird sang\ta do", ":3", "3 columns where 4 are expected"),
    (f"{HEADER}\n{ROW}\n1\ta bird sang\ta dog sang\tentail", ":3", "label 'entail'; allowed are entailment,"),
    (f"{HEADER}\n{ROW}\n1\tx\ty\tentailment\n{ROW}", ":4", "index '0' stands in line 2 already"),
    (f"{HEADER}\n{ROW}\n\n{ROW}", ":3", "1 columns where 4 are expected"),
    (b"\n\n\n", "", "the file is empty"),
]


@pytest.mark.parametrize(("content", "line", "message"), FILES)
def test_a_wrong_data_file_is_told_with_its_line(content, line, message, tmp_path):
    root = write_rte(tmp_path / "glue")
    path = root / "RTE" / "train.tsv"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    told = refused(small(f"task=rte data.root={root} data.cache_dir={tmp_path}/cache"), tmp_path / "run")
    assert f"{path}{line}" in told
    assert message in told
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("score", ["nan", "5.1", "-1", "inf", "high", ""])
def test_a_score_outside_the_range_is_told_with_its_line(score, tmp_path):
    rows = ["a bird sang\ta bird sang\t5.0", f"a bird sang\ta dog slept\t{score}"]
    path = write_split(tmp_path / "STS-B" / "train.tsv", "sentence1\tsentence2\tscore", rows)
    write_split(tmp_path / "STS-B" / "dev.tsv", "sentence1\tsentence2\tscore", rows[:1])
    told = refused(small(f"task=stsb data.root={tmp_path} data.cache_dir=null"), tmp_path / "run")
    assert told == f"{path}:3: score {score!r}; allowed are numbers from 0.0 to 5.0"


def test_a_folder_of_data_that_is_not_there_is_named(tmp_path):
    told = refused(small(f"task=rte data.root={tmp_path}/nowhere"), tmp_path / "run")
    assert told == f"data.root={tmp_path}/nowhere: no such folder"


def test_a_regression_has_no_shots(tmp_path):
    for name in ("train.tsv", "dev.tsv"):
        write_split(tmp_path / "STS-B" / name, "sentence1\tsentence2\tscore", ["a\tb\t1.0"] * 40)
    told = refused(small(f"task=stsb shots=16 data.root={tmp_path} data.cache_dir=null"), tmp_path / "run")
    assert told == "shots=16: a regression task (such as stsb) has no classes to draw from"


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (30, "fewer than 16 examples of class 0; the training set has 15"),
        (62, "class 0 has 31 examples in the training set; 16 to train and 16 to validate are needed"),
    ],
)
def test_too_few_examples_of_a_class_are_counted(examples, message, tmp_path):
    root = write_rte(tmp_path / "glue", train=examples)
    told = refused(small(f"task=rte shots=16 data.root={root} data.cache_dir=null"), tmp_path / "run")
    assert told == f"shots=16: {message}"


@pytest.fixture(scope="module")
def selection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A selection made on the tiny backbone: 2 layers of 4 heads."""
    folder = tmp_path_factory.mktemp("selected")
    root = write_rte(folder / "glue")
    run(small(f"task=rte data.root={root} data.cache_dir=null"), folder)
    return folder / "selection.json"


def _edited(**changes: Any):
    return lambda text: json.dumps({**json.loads(text), **changes})


EDITS = [
    (lambda text: text[:-40], "is not JSON"),
    (lambda text: "[]", "must hold one JSON object"),
    (_edited(schema=3), "schema=3: must be one of 1, 2"),
    (_edited(chosen=[[0, 1, 7], [0, 1, 2]]), "chosen, layer 0: [0, 1, 7] must be different heads from 0 to 3"),
    (_edited(chosen=[[], []]), "chosen: no layer has a head"),
    (_edited(ranks=[[1, 2, 3, 4]]), "ranks: must be numbers in lists of shape [2, 4]"),
    (_edited(extra=1), "unknown extra; known are schema, "),
]


@pytest.mark.parametrize(("edit", "message"), EDITS)
def test_an_edited_selection_is_refused(edit, message, selection, tmp_path):
    path = tmp_path / "selection.json"
    path.write_text(edit(selection.read_text()))
    told = refused(small(f"strategy.selection={path} data.cache_dir=null"), tmp_path / "run")
    assert told.startswith(f"selection {path}: ")
    assert message in told


def test_a_selection_that_is_not_there_is_named(tmp_path):
    told = refused(small(f"strategy.selection={tmp_path}/none.json data.cache_dir=null"), tmp_path / "run")
    assert told == f"selection {tmp_path}/none.json: cannot be read (No such file or directory)"


def test_a_selection_of_another_backbone_is_told_with_both_sizes(selection, tmp_path):
    wider = "backbone.random.num_attention_heads=8 data.cache_dir=null"
    told = refused(small(f"strategy.selection={selection} {wider}"), tmp_path / "run")
    assert told.endswith("it is for 2 layers of 4 heads, backbone tiny has 2 of 8")


def whole_record(folder: Path) -> str:
    record = RunRecord(task="rte", strategy="hifi", backbone="tiny", seed=1)
    return record.write(folder).read_text()


NO_RECORDS = {"empty": "", "a list": "[]", "another program's": '{"result": 1}'}
UNREADABLE = {
    "half": lambda text: text[: len(text) // 2],
    "of a later version": _edited(schema=99),
    "with an unknown key": _edited(notes="mine"),
    "with a seed in words": _edited(seed="one"),
}


@pytest.mark.parametrize("content", NO_RECORDS.values(), ids=NO_RECORDS)
def test_a_folder_with_a_record_of_something_else_is_left_as_it_is(content, tmp_path):
    path = tmp_path / "result.json"
    path.write_text(content)
    told = refused(small("data.cache_dir=null"), tmp_path)
    assert told.startswith(f"{path}: a run would write there, and no run of the laboratory left it")
    assert path.read_text() == content
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("edit", UNREADABLE.values(), ids=UNREADABLE)
def test_a_record_of_ours_that_cannot_be_read_is_kept_beside_the_new_one(edit, tmp_path):
    path = tmp_path / "result.json"
    path.write_text(edit(whole_record(tmp_path)))
    before = path.read_bytes()
    run(small("data.cache_dir=null"), tmp_path)
    assert RunRecord.read(tmp_path).status == "finished"
    assert (tmp_path / "result-unknown.json").read_bytes() == before


def test_a_folder_that_is_a_file_is_named_and_left(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("mine")
    assert refused(small("data.cache_dir=null"), path / "run").endswith(("File exists", "Not a directory"))
    assert path.read_text() == "mine"


# Where a disk says no: in a file of its own, when the record is begun, a checkpoint, the delta, or the picture.
@pytest.mark.parametrize("place", ["result.json", "last.safetensors", "delta.safetensors", "delta.json"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_what_a_disk_refuses_is_one_line_and_nothing_is_half_written(place, number, tmp_path, monkeypatch):
    replace = os.replace

    def refuse(source, target):
        if Path(target).name == place:
            raise OSError(number, os.strerror(number), str(target))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    told = refused(small("data.cache_dir=null", "bitfit"), tmp_path)
    assert told.endswith(f"{place}: {os.strerror(number)}")
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".") or path.name == place]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 40 kB of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, check=False).returncode
    except OSError:
        done = 1
    if done:
        pytest.skip("no right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=False)


def test_a_full_disk_is_one_line_and_leaves_whole_files(small_disk):
    told = refused(small("data.cache_dir=null", "full"), small_disk)
    assert "No space left on device" in told
    assert not [path for path in small_disk.rglob("*") if path.name.startswith(".")]
    assert RunRecord.read(small_disk).status in ("failed", "running")
