"""`peftlab COMMAND` and `python -m peftlab COMMAND`: every command behind one name."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from peftlab.command_line import program, typed_command
from peftlab.console import COMMANDS
from peftlab.results.found import find_records
from runs import SILENT, SMALL
from warm_python import warm_python

# What the console command is: a file of its own name that calls `main`.
CONSOLE = "import sys\nfrom peftlab.console import main\nsys.exit(main())\n"


def typed(
    command: str, folder: Path, python=lambda: [sys.executable], **environment: str
) -> subprocess.CompletedProcess[str]:
    """Type `peftlab ...` or `python -m peftlab ...` in `folder`."""
    script = folder / "peftlab"
    script.write_text(CONSOLE)
    words = command.split()
    start = [*python(), str(script)] if words.pop(0) == "peftlab" else python()
    environment = {**os.environ, "PEFTLAB_CACHE": str(folder / "cache"), **environment}
    return subprocess.run([*start, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=180)


@pytest.mark.parametrize("command", ["peftlab", "peftlab --help", "peftlab -h", "python -m peftlab"])
def test_alone_it_lists_the_commands_with_a_line_each(command, tmp_path):
    done = typed(command, tmp_path)
    assert done.returncode == 0
    for name, what in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(what.about)}$", done.stdout, re.MULTILINE)
    assert f"\n{command.removesuffix(' --help').removesuffix(' -h')} COMMAND --help" in done.stdout


def test_an_unknown_command_is_one_line_with_the_nearest(tmp_path):
    done = typed("peftlab trian", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: trian: no such command (did you mean train?); there are train, ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("name", sorted(COMMANDS))
@pytest.mark.parametrize("start", ["peftlab", "python -m peftlab"])
def test_each_command_has_its_help_and_names_what_was_typed(start, name, tmp_path):
    done = typed(f"{start} {name} --help", tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{start} {name} " in done.stdout
    assert "train.py" not in done.stdout.partition("Groups and their choices")[0]


def test_nothing_heavy_is_imported_to_list_the_commands():
    heavy = ("torch", "transformers", "lightning", "hydra", "numpy", "rich")
    code = f"import sys, peftlab.console; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_command_imports_torch_to_show_its_help():
    modules = sorted({command.module for command in COMMANDS.values()} - {"peftlab.cli"})
    code = f"import sys; [__import__(name) for name in {modules}]; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_mistake_in_a_run_is_one_line(tmp_path):
    done = typed("peftlab train +strategy=hfi", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "strategy=hfi: no such strategy (did you mean hifi, lofit?)" in done.stderr


def test_a_sweep_is_run_recorded_and_resumed_as_it_was_typed(tmp_path):
    sweep = f"peftlab train +strategy=bitfit task=demo {SMALL} {SILENT} strategy.x=1 -m seed=1 hydra.sweep.dir=out"
    assert "strategy.x: no such option" in typed(sweep, tmp_path, warm_python).stderr
    done = typed(sweep.replace("strategy.x=1", "trainer.limit_val_batches=7.5"), tmp_path, warm_python)
    assert done.returncode == 2
    assert "what is missing: peftlab train resume=out" in done.stdout
    done = typed(sweep.replace("strategy.x=1", ""), tmp_path, warm_python)
    assert done.returncode == 0, done.stderr
    records = find_records(tmp_path / "out")
    assert {tuple(record.command[:3]) for record in records} == {("peftlab", "train", "-m")}
    assert {record.status for record in records} == {"failed", "finished"}


@pytest.mark.parametrize(
    ("line", "offered", "withheld"),
    [
        ("peftlab tr", "train", "report"),
        ("peftlab ", "landscape", "task="),
        ("peftlab train task=r", "task=rte", "task=mrpc"),
        ("peftlab train strategy=hifi strategy.te", "strategy.teleport=", "strategy.k="),
        ("peftlab merge tas", "", "task="),
    ],
)
def test_shell_completion_offers_commands_and_what_follows_train(line, offered, withheld, tmp_path):
    # So bash asks: the program alone, and what is typed in the environment.
    done = typed("peftlab -sc query=bash", tmp_path, COMP_LINE=line, COMP_POINT=str(len(line)))
    assert done.returncode == 0, done.stderr
    assert offered in [*done.stdout.split(), ""]
    assert withheld not in done.stdout.split()


@pytest.mark.parametrize(
    ("called", "name", "words"),
    [
        ("/usr/bin/peftlab", "peftlab merge", ["peftlab", "train"]),
        ("/lib/peftlab/__main__.py", "python -m peftlab merge", ["-m", "peftlab", "train"]),
        ("/lib/peftlab/results/__main__.py", "python other.py", ["__main__.py"]),
        ("train.py", "python other.py", ["train.py"]),
    ],
)
def test_a_command_knows_how_it_was_typed(called, name, words, monkeypatch):
    monkeypatch.setattr(sys, "argv", [called, "seed=1"])
    assert program("merge", "python other.py") == name
    assert typed_command() == [*words, "seed=1"]
