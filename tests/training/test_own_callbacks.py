"""A user's callbacks act in a run, on the user's own word alone; their code is part of what the run is."""

import json
from pathlib import Path

import pytest

from commands import command
from peftlab.errors import UserError
from peftlab.results.record import RunRecord
from peftlab.run import run
from peftlab.training.own_callbacks import own_callbacks
from runs import SILENT, SMALL, small

MODULE = """
import pathlib
from lightning import Callback

class Counts(Callback):
    def __init__(self, file, begin=0):
        self.file, self.steps = pathlib.Path(file), begin

    def on_train_batch_end(self, *_):
        self.steps += 1
        self.file.write_text(str(self.steps))
"""
GIVEN = "+trainer.callbacks=[{_target_:counting.Counts,file:mark,begin:10}]"
RUN = f"+strategy=bitfit task=demo {SMALL} {SILENT} data.cache_dir=null hydra.run.dir=run"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "counting.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "counting", raising=False)
    return tmp_path


def test_one_acts_in_the_run_and_is_resumed_on_the_users_word_alone(here: Path, monkeypatch, capfd):
    assert command(f"{RUN} {GIVEN}", here, monkeypatch) == 0, capfd.readouterr().err
    assert (here / "mark").read_text() == "12"
    assert RunRecord.read(here / "run").config["trainer"]["callbacks"][0]["_target_"] == "counting.Counts"
    (here / "mark").unlink()
    (here / "run" / "result.json").unlink()
    assert command("resume=run", here, monkeypatch) == 2
    assert "code that no folder may choose; type it again with it" in capfd.readouterr().err
    assert not (here / "mark").exists()
    assert command(f"resume=run {GIVEN}", here, monkeypatch) == 0, capfd.readouterr().err
    assert (here / "mark").read_text() == "12"


def test_a_folder_of_configuration_that_a_run_names_brings_none(here: Path, monkeypatch, capfd):
    """As one from elsewhere may say it: in a file of the group that the run chose."""
    (here / "conf" / "trainer").mkdir(parents=True)
    text = "defaults: [cpu]\nmax_steps: 1\ncallbacks: [{_target_: counting.Counts, file: mark}]\n"
    (here / "conf" / "trainer" / "mine.yaml").write_text(text)
    (here / "run" / ".hydra").mkdir(parents=True)
    overrides = ["+strategy=bitfit", "task=demo", "backbone=tiny", "trainer=mine"]
    sources = [{"path": str(here / "conf"), "schema": "file", "provider": "user"}]
    content = {"hydra": {"overrides": {"task": overrides}, "runtime": {"config_sources": sources}}}
    (here / "run" / ".hydra" / "hydra.yaml").write_text(json.dumps(content))
    assert command("resume=run", here, monkeypatch) == 2
    assert "resume takes code from no folder" in capfd.readouterr().err
    assert not (here / "mark").exists()
    assert command("resume=run --config-dir conf", here, monkeypatch) == 0, capfd.readouterr().err
    assert (here / "mark").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("counting.Counts", "trainer.callbacks=counting.Counts: allowed is a list"),
        ([{"file": "x"}], r"trainer.callbacks\[0\]: missing _target_"),
        ([{"_target_": "nowhere.Counts"}], r"trainer.callbacks\[0\]: .*nowhere"),
        ([{"_target_": "counting.Counts"}], r"trainer.callbacks\[0\]: .*file"),
        ([{"_target_": "pathlib.Path"}], r"trainer.callbacks\[0\]: pathlib.Path is no lightning.Callback"),
    ],
)
def test_what_is_no_callback_is_refused_in_one_line(given, message: str, here: Path):
    with pytest.raises(UserError, match=f"^{message}") as caught:
        own_callbacks(given)
    assert len(str(caught.value).splitlines()) == 1


def test_options_and_code_of_one_are_part_of_what_the_run_is(here: Path, monkeypatch):
    def done(folder: str, begin: int) -> RunRecord:
        return run(small(GIVEN.replace("begin:10", f"begin:{begin}"), "bitfit"), here / folder)

    first, second = done("first", 0), done("second", 1)
    assert first.identity["settings"] != second.identity["settings"]
    assert first.identity["code"] != run(small("", "bitfit"), here / "without").identity["code"]
    lightnings = "+trainer.callbacks=[{_target_:lightning.pytorch.callbacks.Timer}]"
    assert run(small(lightnings, "bitfit"), here / "third").identity["code"] != first.identity["code"]
