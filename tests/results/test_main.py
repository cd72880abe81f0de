"""``python -m peftlab.results FOLDER`` as a user types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from records import finished

from peftlab.results.__main__ import main


def test_it_prints_the_table_of_every_run_below_the_folder(tmp_path: Path):
    for seed, score in [(1, 0.80), (2, 0.90)]:
        finished(score, seed=seed).write(tmp_path / str(seed))
    command = [sys.executable, "-m", "peftlab.results", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "85.0 ± 7.1" in done.stdout
    assert done.stderr == ""


def test_it_writes_markdown_for_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    finished(0.80).write(tmp_path)
    assert main([str(tmp_path), "--markdown"]) == 0
    assert "| hifi | 80.0 ± n/a | 1 |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder.mkdir(), "no runs below"),
        (lambda folder: None, "no folder"),
        (lambda folder: (folder.mkdir(), (folder / "result.json").write_text("{"))[0], "not a whole JSON file"),
    ],
    ids=["empty", "missing", "broken"],
)
def test_nothing_to_show_is_one_line_on_stderr_and_exit_2(make, message, tmp_path, capsys):
    folder = tmp_path / "runs"
    make(folder)
    assert main([str(folder)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert message in output.err
    assert str(folder) in output.err
    assert output.err.count("\n") == 1


def test_one_record_that_cannot_be_read_does_not_end_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    finished(0.80, seed=1).write(tmp_path / "good")
    os.mkfifo(finished(seed=2).write(tmp_path / "pipe").with_name("other"))
    (tmp_path / "pipe" / "other").rename(tmp_path / "pipe" / "result.json")
    none = {"parameters": {"total": 0, "tuned": 0, "classifier": 0}}
    for place, edits in {"none\x1b[2J": none, "half": {"seed": "x"}}.items():
        file = finished(seed=3).write(tmp_path / place)
        file.write_text(json.dumps(json.loads(file.read_text()) | edits))
    assert main([str(tmp_path)]) == 0
    output = capsys.readouterr()
    assert "80.0 ± n/a" in output.out
    told = output.err.splitlines()
    assert all(line.startswith("! unreadable: ") and line.isprintable() for line in told)
    for reason in ("not a regular file", r"none\x1b[2J/result.json: parameters.total is 0", "'seed' is \"x\""):
        assert sum(reason in line for line in told) == 1
    assert len(told) == 3


def test_reading_results_needs_neither_torch_nor_transformers():
    code = "import peftlab.results.__main__, peftlab.results.environment, sys; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "lightning", "matplotlib"} & set(modules.split())
