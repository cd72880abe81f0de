"""A run's folder that somebody else made: resuming it calls, reads and writes nothing that its user did not name."""

import json
from pathlib import Path

import pytest

from commands import command
from peftlab.results.record import RunRecord

SECRET = "0123456789abcdef0123456789abcdef01234567"
TASK = "name: mine\nlabels: [entailment, not_entailment]\nmetrics: [accuracy]\ngenerator: demo\n"
CALL = "{x: {_target_: os.mkdir, path: MARK}}"
# What a folder of configuration may say, in a file that a run takes, to have something called.
CONFIGURATIONS = {
    "callbacks": f"# @package _global_\nhydra: {{callbacks: {CALL}}}\ntask:\n  " + TASK.replace("\n", "\n  "),
    "another package": f"# @package hydra.callbacks\n{CALL}\n",
    "logging": "# @package _global_\nhydra: {job_logging: {handlers: {x: {(): os.mkdir, path: MARK}}}}\n",
    "environment": "# @package _global_\nhydra: {job: {env_set: {PYTHONPATH: MARK}}}\n",
    "another launcher": "# @package _global_\ndefaults: [{override /hydra/launcher: basic}]\n",
    "another place": "# @package _global_\ndefaults: [{/task@hydra.callbacks: call}]\n",
    "sweep": "# @package _global_\nhydra: {sweeper: {params: {task@hydra.callbacks: call}}}\n",
    "sweeper": "# @package _global_\nhydra: {sweeper: {_target_: os.mkdir}}\n",
    "package": "# @package _global_\nplugins: [evil]\n",
}


@pytest.fixture
def theirs(tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run's folder of somebody else's, with a folder of configuration and a package that leaves a mark."""
    (tmp_path / "evil.py").write_text(f"import pathlib\npathlib.Path({str(mark)!r}).touch()\n")
    (tmp_path / "conf" / "task").mkdir(parents=True)
    (tmp_path / "conf" / "task" / "call.yaml").write_text(CALL.replace("MARK", str(mark)))
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    tell(tmp_path / "run", "task=mine")
    return tmp_path


def tell(run: Path, *overrides: str) -> None:
    """Let a run's folder say that it was made by these overrides, with the folder of configuration beside it."""
    small = ["backbone=tiny", "trainer=debug", "trainer.enable_progress_bar=false"]
    hydra = {
        "overrides": {"task": ["+strategy=bitfit", *small, *overrides]},
        "runtime": {"config_sources": [{"path": str(run.parent / "conf"), "schema": "file", "provider": "user"}]},
    }
    (run / ".hydra" / "hydra.yaml").write_text(json.dumps({"hydra": hydra}))


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_a_folder_of_configuration_that_a_run_names_calls_nothing(name, theirs, mark, monkeypatch, capfd):
    file = theirs / "conf" / "task" / "mine.yaml"
    file.write_text(CONFIGURATIONS[name].replace("MARK", str(mark)))
    assert command("resume=run", theirs, monkeypatch) == 2
    assert "which resume takes from no folder; if it is yours, name it: --config-dir" in capfd.readouterr().err
    assert not mark.exists()


def test_it_would_be_called_on_the_users_own_word(theirs, mark, monkeypatch):
    file = theirs / "conf" / "task" / "mine.yaml"
    file.write_text(CONFIGURATIONS["callbacks"].replace("MARK", str(mark)))
    command("resume=run --config-dir conf", theirs, monkeypatch)
    assert mark.exists()


@pytest.mark.parametrize("group", ["task", "+task/x", "+task@hydra.callbacks", "+backbone@x"])
def test_a_run_names_no_file_outside_of_its_groups(group, theirs, mark, monkeypatch):
    (theirs / "conf" / "task" / "mine.yaml").write_text(TASK)
    (theirs / "away.yaml").write_text(CONFIGURATIONS["callbacks"].replace("MARK", str(mark)))
    up = "/".join([".."] * 30)
    tell(theirs / "run", "task=mine", f"{group}={up}{theirs}/away")
    command("resume=run", theirs, monkeypatch)
    assert not mark.exists()


@pytest.mark.parametrize("override", ["plugins=[evil]", "++plugins=[evil]", "plugins.0=evil", "+task@plugins=evil"])
def test_a_run_has_no_package_imported(override, theirs, mark, monkeypatch):
    (theirs / "conf" / "task" / "mine.yaml").write_text(TASK)
    (theirs / "conf" / "task" / "evil.yaml").write_text("[evil]")
    tell(theirs / "run", "task=mine", override)
    command("resume=run", theirs, monkeypatch)
    assert not mark.exists()


ASKING = {
    "override": ("task=mine", "task.name=${oc.env:OPENAI_KEY}"),
    "file": ("task=asking",),
    "path": ("task=mine", "task.name=x/../../../away"),
    "folder": ("task=mine", "experiment=away"),
}


@pytest.mark.parametrize("name", ASKING)
def test_a_folder_reads_nothing_here_and_writes_nothing_elsewhere(name, theirs, monkeypatch, capfd):
    monkeypatch.setenv("OPENAI_KEY", SECRET)
    (theirs / "conf" / "task" / "mine.yaml").write_text(TASK)
    (theirs / "conf" / "task" / "asking.yaml").write_text(TASK.replace("mine", "${oc.env:OPENAI_KEY}"))
    (theirs / "conf" / "experiment").mkdir()
    away = "# @package _global_\nhydra: {mode: MULTIRUN, sweep: {subdir: ../../away}}\n"
    (theirs / "conf" / "experiment" / "away.yaml").write_text(away)
    tell(theirs / "run", *ASKING[name])
    before = {path: path.read_bytes() for path in theirs.rglob("*") if path.is_file()}
    assert command("resume=run", theirs, monkeypatch) == 2
    assert {path: path.read_bytes() for path in theirs.rglob("*") if path.is_file()} == before
    assert not list(theirs.parent.glob("away*"))
    assert SECRET not in "".join(capfd.readouterr())


def test_a_folder_of_configuration_that_is_harmless_is_taken(theirs, monkeypatch, capfd):
    (theirs / "conf" / "task" / "mine.yaml").write_text(TASK)
    assert command("resume=run", theirs, monkeypatch) == 0, capfd.readouterr().err
    assert RunRecord.read(theirs / "run").task == "mine"
