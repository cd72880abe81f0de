"""CSV is always written; the others when asked; all are closed at the end, whatever the end was."""

import csv
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from peftlab.errors import UserError
from peftlab.training import loggers
from peftlab.training.loggers import open_loggers

WANDB = {"name": "wandb", "project": "peftlab", "entity": None, "offline": None}
RUN = {"name": "rte-hifi-seed1", "group": "rte-hifi", "tags": ["rte", "hifi"], "config": {"seed": 1, "k": {"of": 3}}}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No W&B account, no wish, and a home without any file."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


def log_something(options: dict[str, Any], folder: Path, run: dict[str, Any] = RUN) -> list[Any]:
    with open_loggers(options, folder, run) as opened:
        for logger in opened:
            logger.log_metrics({"train/loss": 0.5}, step=3)
    return opened


def written(folder: Path, patience: float = 60.0) -> bytes:
    """Return what an offline W&B run wrote: records whose texts stand in it as they are.

    W&B's service writes beside us and goes on for a while after the run is finished.
    """
    (file,) = folder.glob("*.wandb")
    end, sizes = time.monotonic() + patience, [0]
    while time.monotonic() < end and (sizes[-1] < 1000 or sizes[-1] != sizes[-2]):
        time.sleep(0.5)
        sizes.append(file.stat().st_size)
    return file.read_bytes()


def offline_runs(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*"))


@pytest.mark.parametrize("options", [{"name": "csv"}, {"name": "tensorboard"}], ids=lambda options: options["name"])
def test_csv_is_always_written(options: dict[str, Any], tmp_path: Path):
    log_something(options, tmp_path)
    with (tmp_path / "metrics.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"step": "3", "train/loss": "0.5"}]


def test_tensorboard_writes_its_events(tmp_path: Path):
    kinds = [type(logger) for logger in log_something({"name": "tensorboard"}, tmp_path)]
    assert kinds == [CSVLogger, TensorBoardLogger]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(3, 0.5)]


def test_wandb_is_offline_without_a_key_and_knows_the_run(tmp_path: Path):
    opened = log_something(WANDB, tmp_path)
    assert isinstance(opened[-1], WandbLogger)
    (folder,) = offline_runs(tmp_path)
    found = written(folder)
    for text in ("peftlab", RUN["name"], RUN["group"], *RUN["tags"], "train/loss", '{"of":3}'):
        assert text.encode() in found, text


def test_two_runs_of_one_process_are_two_wandb_runs(tmp_path: Path):
    for name in ("first", "second"):
        log_something(WANDB, tmp_path / name, {**RUN, "name": f"run-{name}"})
        assert wandb.run is None
    for name, other in (("first", "second"), ("second", "first")):
        (folder,) = offline_runs(tmp_path / name)
        found = written(folder)
        assert f"run-{name}".encode() in found
        assert f"run-{other}".encode() not in found


def stop(folder: Path, options: dict[str, Any], error: Exception | None) -> None:
    """Log something in a run that ends with `error`."""
    with open_loggers(options, folder, RUN) as opened:
        opened[-1].log_metrics({"train/loss": 0.5}, step=3)
        if error is not None:
            raise error


@pytest.mark.parametrize(("error", "code"), [(None, 0), (RuntimeError("it failed"), 1)], ids=["finished", "failed"])
def test_wandb_learns_how_the_run_ended(
    error: Exception | None, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    codes = []
    finish = wandb.Run.finish
    monkeypatch.setattr(wandb.Run, "finish", lambda run, exit_code: (codes.append(exit_code), finish(run, exit_code)))
    with pytest.raises(RuntimeError, match="it failed") if error else nullcontext():
        stop(tmp_path, WANDB, error)
    assert codes == [code]
    assert wandb.run is None


def test_a_failed_run_leaves_its_metrics_in_the_csv(tmp_path: Path):
    with pytest.raises(RuntimeError):
        stop(tmp_path, {"name": "csv"}, RuntimeError())
    assert "0.5" in (tmp_path / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("given", "mode", "key", "reachable", "offline"),
    [
        (None, None, True, True, False),
        (None, None, True, False, True),
        (None, None, False, True, True),
        (None, "offline", True, True, True),
        (True, None, True, True, True),
        (False, None, False, False, False),
    ],
)
def test_wandb_is_online_only_with_a_key_and_a_network_or_when_told(
    given: bool | None,
    mode: str | None,
    key: bool,
    reachable: bool,
    offline: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    if key:
        (Path.home() / ".netrc").write_text("machine api.wandb.ai login user password none\n")
    monkeypatch.setattr(loggers, "reachable", lambda address: reachable)
    asked = []
    monkeypatch.setattr(loggers, "WandbLogger", lambda **options: asked.append(options["offline"]))
    loggers._wandb({**WANDB, "offline": given}, tmp_path, RUN)
    assert asked == [offline]


def test_an_unknown_logger_is_told_with_those_there_are(tmp_path: Path):
    with pytest.raises(UserError, match=r"^logger=neptune: .*csv, tensorboard, wandb$"):
        log_something({"name": "neptune"}, tmp_path)
