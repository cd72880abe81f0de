"""`python report.py`: what a person types, gets and is told."""

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT
from peftlab.report.command import main
from studies import runs, write

SCORES = {"lora": [0.80, 0.82], "full": [0.85, 0.86]}


def test_the_command_writes_tables_and_one_page(tmp_path: Path) -> None:
    write(tmp_path / "sweep", runs(SCORES))
    command = [sys.executable, ROOT / "report.py", tmp_path / "sweep", "--output", tmp_path / "report"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "4 runs of 2 strategies on RTE" in done.stdout
    assert {path.name for path in (tmp_path / "report").iterdir()} == {
        *(
            f"{name}.{kind}"
            for name in ("table1", "table2", "table3", "instability", "tuning")
            for kind in ("md", "tex", "csv")
        ),
        *("index.html", "comparison.csv", "tests.csv", "examples.csv", "answers.csv", "runs.csv"),
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "error: no folder nowhere: give folders that hold runs (their result.json)"),
        (["sweep", "--reference", "lora!"], "error: --reference lora!: no such method (did you mean lora?)"),
        (
            ["sweep", "--output", "sweep/0-rte-seed1/result.json"],
            "error: --output sweep/0-rte-seed1/result.json: cannot",
        ),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, told, tmp_path: Path, monkeypatch, capsys) -> None:
    write(tmp_path / "sweep", runs(SCORES))
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(told)
    assert (captured.out, captured.err.count("\n")) == ("", 1)


def test_the_last_line_says_where_the_page_is(tmp_path: Path, capsys) -> None:
    write(tmp_path / "sweep", runs(SCORES))
    assert main([str(tmp_path), "--output", str(tmp_path / "report")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"page: {tmp_path / 'report' / 'index.html'}"
    assert (tmp_path / "report" / "index.html").is_file()
