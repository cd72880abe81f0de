"""A run in Weights & Biases holds what its record holds; each test reads back what W&B would upload."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import wandb
from PIL import Image

from commands import command
from peftlab import network
from peftlab.errors import UserError
from peftlab.recording import describe_run, new_record
from peftlab.results.record import RunRecord
from peftlab.run import run
from peftlab.training import wandb_run
from peftlab.training.module import FineTuning
from runs import SILENT, SMALL, small
from wandb_files import OfflineRun, forget_account, offline_runs

KEY = "0123456789abcdef0123456789abcdef01234567"
LIVE = "logger=wandb trainer.log_every_n_steps=1"
LABEL = {"id": "abc", "name": "n", "group": "g", "tags": [], "config": {}, "resumed": False}
OPTIONS = {"name": "wandb", "project": "peftlab", "entity": None, "delta": True, "offline": None}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    forget_account(monkeypatch, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, whose environment held a key."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as monkeypatch:
        forget_account(monkeypatch, tmp_path_factory.mktemp("home"))
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        monkeypatch.setenv("WANDB_MODE", "offline")
        run(small(LIVE), folder)
    return folder


@pytest.fixture(scope="module")
def uploaded(folder: Path) -> OfflineRun:
    (found,) = offline_runs(folder)
    return found


def of_record(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return content


def test_it_is_filed_by_what_it_is(uploaded: OfflineRun, folder: Path):
    record = of_record(folder)
    assert uploaded.id.startswith(f"{record['id']}-")
    assert uploaded.project == "peftlab"
    assert uploaded.tags == ["demo", "hifi", "tiny", "shots-full"]
    assert uploaded.group.startswith("demo-hifi-tiny-shots-full-")
    assert uploaded.name == f"{uploaded.group}-seed1"
    assert {name: uploaded.config[name] for name in record["config"]} == record["config"]


def test_metrics_are_logged_while_it_trains(uploaded: OfflineRun):
    assert list(uploaded.logged("train/loss_step")) == [0, 1]
    assert uploaded.logged("validation/accuracy")


def test_its_summary_is_the_record(uploaded: OfflineRun, folder: Path):
    record = of_record(folder)
    assert record["status"] == "finished"
    assert {name: uploaded.summary.get(name, "nothing") for name in record} == record
    assert uploaded.exit_code == 0


def test_the_head_map_is_an_image(uploaded: OfflineRun, folder: Path):
    (row,) = [row for row in uploaded.history if "heads" in row]
    picture = row["heads"]
    assert picture["_type"] == "image-file"
    sent = uploaded.folder / "files" / picture["path"]
    assert sent.read_bytes() == (folder / "selection.png").read_bytes()
    assert Image.open(sent).size == (picture["width"], picture["height"])


def test_selection_and_result_are_artifacts(uploaded: OfflineRun, folder: Path):
    sent = {**uploaded.artifacts[f"selection-{uploaded.id}"], **uploaded.artifacts[f"result-{uploaded.id}"]}
    assert {name: Path(place) for name, place in sent.items()} == {
        name: folder / name for name in ("selection.json", "selection.png", "result.json")
    }


@pytest.mark.parametrize("wanted", [True, False])
def test_the_delta_is_an_artifact_unless_that_is_declined(wanted, uploaded: OfflineRun, folder: Path, tmp_path: Path):
    if not wanted:
        run(small(f"{LIVE} logger.delta=false", "bitfit"), tmp_path)
        (uploaded,), folder = offline_runs(tmp_path), tmp_path
    sent = uploaded.artifacts.get(f"delta-{uploaded.id}", {})
    names = ("delta.safetensors", "delta.json") if wanted else ()
    assert {name: Path(place) for name, place in sent.items()} == {name: folder / name for name in names}


def test_what_was_logged_before_a_kill_is_kept(tmp_path: Path):
    code = f"""
import os, signal, time
from pathlib import Path
from peftlab.run import run
from peftlab.training.module import FineTuning
from runs import small

def training_step(module, batch, index):
    if module.trainer.global_step == 9:
        time.sleep(1.5)
        os.kill(os.getpid(), signal.SIGKILL)
    return train(module, batch, index)

train, FineTuning.training_step = FineTuning.training_step, training_step
run(small("{LIVE} logger.offline=true trainer.max_steps=20 training.batch_size=8", "bitfit"), Path({str(tmp_path)!r}))
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == -signal.SIGKILL
    (found,) = offline_runs(tmp_path, patience=0.0)
    assert list(found.logged("train/loss_step")) == [*range(9)]


def test_the_final_table_is_a_row_of_the_comparison(uploaded: OfflineRun, folder: Path):
    record = of_record(folder)
    file = Path(uploaded.artifacts[f"run-{uploaded.id}-table"]["table.table.json"])
    table = json.loads(file.read_text())
    (values,) = table["data"]
    row = dict(zip(table["columns"], values, strict=True))
    assert (row["task"], row["strategy"], row["seed"], row["status"]) == ("demo", "hifi", 1, "finished")
    assert row["validation"] == record["metric"]["validation"]
    assert row["tuned parameters"] == record["parameters"]["tuned"]
    assert [line["table"]["nrows"] for line in uploaded.history if "table" in line] == [1]


def test_no_key_is_in_any_file_of_it(folder: Path):
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


@pytest.mark.parametrize(
    ("error", "raised", "code", "status"),
    [
        (RuntimeError("it broke"), RuntimeError, 1, "failed"),
        (KeyboardInterrupt(), KeyboardInterrupt, 255, "interrupted"),
    ],
)
def test_a_run_that_did_not_finish_is_marked_so(error, raised, code, status, tmp_path: Path, monkeypatch):
    def training_step(*_: Any) -> None:
        raise error

    monkeypatch.setattr(FineTuning, "training_step", training_step)
    with pytest.raises(raised):
        run(small(LIVE), tmp_path)
    (found,) = offline_runs(tmp_path)
    record = of_record(tmp_path)
    assert found.exit_code == code
    assert (found.summary["status"], found.summary["reason"]) == (status, record["reason"])
    assert record["status"] == status
    assert wandb.run is None


def stopped_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the next run be interrupted by a signal in its step after `steps`."""
    train, seen = FineTuning.training_step, []

    def training_step(module, batch, index):
        seen.append(index)
        if len(seen) > steps:
            raise KeyboardInterrupt
        return train(module, batch, index)

    monkeypatch.setattr(FineTuning, "training_step", training_step)


def test_a_resumed_run_goes_on_in_its_first_and_a_repeated_one_does_not(tmp_path: Path):
    config = small(f"{LIVE} trainer.max_steps=4 checkpoint.every_steps=1", "bitfit")
    with pytest.MonkeyPatch.context() as monkeypatch:
        stopped_after(2, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path)
    assert run(config, tmp_path).resumed == 1
    first, second = offline_runs(tmp_path)
    assert first.id == second.id
    assert (first.exit_code, second.exit_code) == (255, 0)
    steps = {**first.logged("train/loss_step"), **second.logged("train/loss_step")}
    assert list(steps) == [0, 1, 2, 3]
    assert run(config, tmp_path).resumed == 0
    ids = [shown.id for shown in offline_runs(tmp_path)]  # in no order: they may begin within a second
    assert ids.count(first.id) == 2
    assert len(set(ids)) == 2


def group_of(overrides: str) -> str:
    config = small(overrides)
    return str(describe_run(config, new_record(config))["group"])


def test_a_run_of_another_seed_shares_the_group_and_nothing_else_does():
    group = group_of("logger=wandb")
    same = ["seed=2", "force=true", "any_code=true", "data.num_workers=2", "logger.project=other"]
    assert [group_of(f"logger=wandb {override}") == group for override in same] == [True] * len(same)
    assert group_of("logger=wandb strategy.k=2") != group


@pytest.mark.parametrize(
    ("given", "mode", "key", "answers", "offline"),
    [
        (None, None, True, True, False),
        (None, None, True, False, True),
        (None, None, False, True, True),
        (None, "offline", True, True, True),
        (True, None, True, True, True),
        (False, None, False, False, False),
    ],
)
def test_it_is_online_only_with_a_key_and_a_network_or_when_told(given, mode, key, answers, offline, monkeypatch):
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    if key:
        (Path.home() / ".netrc").write_text("machine api.wandb.ai login user password none\n")
    monkeypatch.setattr(network, "reachable", lambda address: answers)
    assert wandb_run.is_offline(given) is offline


def test_where_an_offline_run_lies_is_told(tmp_path: Path, caplog):
    with caplog.at_level("INFO"):
        wandb_run.end(wandb_run.begin(OPTIONS, tmp_path, LABEL), tmp_path, {"status": "failed"})
    (found,) = offline_runs(tmp_path)
    assert f"W&B: offline; `wandb sync {found.folder}` uploads it" in caplog.text


def test_each_run_of_a_sweep_is_one_of_wandb_in_the_same_group(tmp_path: Path, monkeypatch):
    sweep = f"+strategy=bitfit task=demo {SMALL} {SILENT} logger=wandb data.cache_dir=null -m seed=1,2"
    assert command(f"{sweep} hydra.sweep.dir=sweep", tmp_path, monkeypatch) == 0
    first, second = (found for folder in (tmp_path / "sweep").glob("*seed*") for found in offline_runs(folder))
    assert first.group == second.group
    assert first.id != second.id
    assert (first.exit_code, second.exit_code) == (0, 0)
    assert {first.summary["seed"], second.summary["seed"]} == {1, 2}


def test_what_the_server_refuses_at_the_start_is_one_line(tmp_path: Path, monkeypatch):
    def refuse(**_: Any) -> None:
        raise wandb.errors.CommError("permission denied\nfor this project")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(UserError, match=r"^logger=wandb: permission denied for this project; logger\.offline=true"):
        run(small(LIVE), tmp_path)
    assert RunRecord.read(tmp_path).status == "failed"


def test_what_the_server_refuses_at_the_end_is_a_warning(tmp_path: Path, monkeypatch, caplog):
    def refuse(*_: Any) -> None:
        raise wandb.errors.CommError("too large")

    logger = wandb_run.begin(OPTIONS, tmp_path, LABEL)
    monkeypatch.setattr(wandb.Run, "log_artifact", refuse)
    (tmp_path / "result.json").write_text("{}")
    wandb_run.end(logger, tmp_path, {"status": "finished"})
    assert "too large" in caplog.text
    assert wandb.run is None
