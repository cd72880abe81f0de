"""The script that types the README finds its commands, and shows what they print without this machine in it."""

import re
import subprocess
import sys
from pathlib import Path

import yaml

from conftest import ROOT
from docs.first_hour import FIRST, LAST, Command, Seen, commands, page, prepare, readable, type_in
from peftlab.tasks.sources.own import own_task
from peftlab.tasks.task import Task

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGE = """
# A page

    make demo                    # from nothing
    python train.py task=a#b

Some text with `python x` in it.

    not a command

```python
import this
```

```yaml
python: no
```
"""


def test_commands_are_the_lines_of_indented_blocks_and_blocks_of_python():
    assert commands(PAGE) == [
        Command("make demo"),
        Command("python train.py task=a#b"),
        Command("import this", "python"),
    ]


def test_every_section_of_the_readme_has_commands():
    typed = [command.text for command in commands(README)]
    assert typed[0] == "make demo"
    parts = (
        "task=text",
        "resume=",
        "predict.py",
        "peftlab.submit",
        "peftlab.merge",
        "report.py",
        "backbone.path=MODEL_FOLDER",
    )
    assert all(any(part in text for text in typed) for part in parts)
    assert len(README.splitlines()) < 120


def test_the_files_that_the_readme_names_are_a_task(tmp_path: Path):
    prepare(tmp_path)
    (typed,) = (command.text for command in commands(README) if "task=text" in command.text)
    files = dict(word.split("=") for word in typed.split() if word.startswith("data."))
    data = {name.removeprefix("data."): str(tmp_path / file) for name, file in files.items()}
    assert own_task({"name": "text", "own": {}}, data)["labels"] == ["negative", "positive"]
    assert all(Path(path).is_file() for path in data.values())


def test_the_task_that_the_page_on_own_data_describes_is_one():
    (described,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "own-data.md").read_text(), re.DOTALL)
    assert Task.from_config(yaml.safe_load(described)).name == "reviews"


def test_a_long_output_loses_its_middle_and_this_machine_its_name(tmp_path: Path):
    lines = [f"\x1b[1mline {n}\x1b[0m of {tmp_path}/x" for n in range(100)]
    told = readable("\n".join(lines), tmp_path).splitlines()
    assert len(told) == FIRST + LAST + 1
    assert (told[0], told[-1]) == ("line 0 of ~/peftlab/x", "line 99 of ~/peftlab/x")
    assert told[FIRST] == f"... ({100 - FIRST - LAST} lines)"


def test_what_is_typed_is_written_down_with_code_and_seconds(tmp_path: Path):
    seen = [
        type_in(Command("echo said; echo wrong >&2; exit 3"), tmp_path, 20),
        type_in(Command("print(1 + 1)", "python"), tmp_path, 20),
        type_in(Command("echo begun; sleep 30"), tmp_path, 1),
    ]
    assert [(one.output, one.code) for one in seen] == [("said\nwrong", 3), ("2", 0), ("begun", None)]
    written = page(seen, "About.")
    assert "$ echo said; echo wrong >&2; exit 3\nsaid\nwrong\n```\n\nexit code 3 after 0 s" in written
    assert re.search(r"^Ctrl-C after \d+ s$", written, re.MULTILINE)
    assert isinstance(seen[0], Seen)


def test_the_script_says_how_it_is_used():
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "first_hour.py", "--help"], capture_output=True, text=True, check=True
    )
    assert "--limit" in done.stdout
