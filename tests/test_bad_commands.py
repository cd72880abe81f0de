"""What is wrong with a command beside train.py is one line on stderr and exit code 2, and nothing is written."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from peftlab import merge, search
from peftlab.report import command as report
from peftlab.results import __main__ as results
from peftlab.results.record import RunRecord

MAINS: dict[str, Callable[[], int | None]] = {
    "report": report.main,
    "results": results.main,
    "search": search.main,
    "merge": merge.main,
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an empty one, a text, a whole record of a run that failed, half of one, and a newer one."""
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("text").write_text("mine")
    record = RunRecord(task="rte", strategy="hifi", backbone="tiny", seed=1, status="failed", reason="a test")
    for name in ("whole", "half", "newer", "edited"):
        record.write(Path(name))
    Path("half/result.json").write_text(Path("whole/result.json").read_text()[:100])
    edit("newer/result.json", schema=99)
    edit("edited/result.json", config=[])
    Path("whole/delta.json").write_text('{"schema": 1}')
    Path("half/delta.json").write_text('{"schema": ')
    Path("newer/delta.json").write_text('{"schema": 2}')
    Path("edited/delta.json").write_text("[]")
    return tmp_path


def edit(path: str, **entries: object) -> None:
    Path(path).write_text(json.dumps({**json.loads(Path(path).read_text()), **entries}))


MISTAKES = [
    ("report", "nowhere", "no folder nowhere: give folders that hold runs (their result.json)"),
    ("report", "text", "no folder text: give folders that hold runs"),
    ("report", "empty", "no runs to report on"),
    ("report", "half", "half/result.json is not a whole JSON file"),
    ("report", "newer", "newer/result.json: schema 99 is newer than this version reads"),
    ("report", "whole --output text", "--output text: cannot be written (File exists)"),
    ("report", "whole --reference lorra", "lorra"),
    ("results", "nowhere", "no folder nowhere: give folders that hold runs (their result.json)"),
    ("results", "text", "no folder text: give folders that hold runs"),
    ("results", "empty", "no runs below empty: not one result.json was found"),
    ("results", "half", "half/result.json is not a whole JSON file"),
    ("results", "newer", "newer/result.json: schema 99 is newer than this version reads"),
    ("results", "edited", "edited/result.json: 'config' is [], must be"),
    ("search", "nowhere", "no folder nowhere: give folders that hold runs"),
    ("search", "empty", "no runs below empty"),
    ("search", "half", "half/result.json is not a whole JSON file"),
    ("search", "whole", "whole: not a trial of a search, it was given no learning rate"),
    ("merge", "nowhere target", "nowhere/delta.json: no such file; a run's folder with a delta holds it"),
    ("merge", "text target", "text/delta.json: "),
    ("merge", "whole target", "whole/delta.json.strategy: missing"),
    ("merge", "half target", "half/delta.json: not a delta's JSON"),
    ("merge", "newer target", "newer/delta.json: schema 2 is not known here; allowed is 1"),
    ("merge", "edited target", "edited/delta.json: not a delta's JSON (a table of values is expected)"),
    ("merge", "whole text", "text: is there already; name a folder that is new or empty"),
]


@pytest.mark.parametrize(("name", "arguments", "message"), MISTAKES)
def test_a_mistake_is_one_line_with_exit_code_2_and_nothing_is_written(
    name, arguments, message, place, monkeypatch, capsys
):
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    monkeypatch.setattr(sys, "argv", [name, *arguments.split()])
    try:
        code = MAINS[name]()
    except SystemExit as end:
        code = end.code
    printed = capsys.readouterr()
    assert code == 2
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert printed.out == ""
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
