"""CSV is always written; the others when asked; all are closed at the end, whatever the end was."""

import csv
import errno
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import wandb
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from peftlab.errors import UserError
from peftlab.training.loggers import RunLoggers
from wandb_files import forget_account, offline_runs

WANDB = {"name": "wandb", "project": "peftlab", "entity": None, "delta": True, "offline": None}
RUN = {
    "id": "abc",
    "name": "rte-hifi-seed1",
    "group": "rte-hifi",
    "tags": ["rte", "hifi"],
    "config": {"seed": 1, "k": {"of": 3}},
    "resumed": False,
}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    forget_account(monkeypatch, tmp_path_factory.mktemp("home"))


def log_something(
    options: dict[str, Any], folder: Path, run: dict[str, Any] = RUN, status: str = "finished"
) -> list[type]:
    """Log one loss in a run that ends with `status`; return the kinds of loggers."""
    with closing(RunLoggers(options, folder)) as loggers:
        opened = loggers.open(run)
        for logger in opened:
            logger.log_metrics({"train/loss": 0.5}, step=3)
        (folder / "result.json").write_text(json.dumps({"status": status}))
        return [type(logger) for logger in opened]


@pytest.mark.parametrize("options", [{"name": "csv"}, {"name": "tensorboard"}], ids=lambda options: options["name"])
@pytest.mark.parametrize("status", ["finished", "failed"])
def test_csv_is_always_written(options: dict[str, Any], status: str, tmp_path: Path):
    log_something(options, tmp_path, status=status)
    with (tmp_path / "metrics.csv").open() as file:
        assert list(csv.DictReader(file)) == [{"step": "3", "train/loss": "0.5"}]


def test_a_kill_or_a_full_disk_leaves_the_log_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The file is written anew with each save: rows of other columns come, and writing stops in the middle of it."""
    with closing(RunLoggers({"name": "csv"}, tmp_path)) as loggers:
        (logger,) = loggers.open(RUN)
        logger.log_metrics({"train/loss": 0.5}, step=3)
        logger.save()
        before = (tmp_path / "metrics.csv").read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr(csv.DictWriter, "writerows", raise_full_disk)
            logger.log_metrics({"validation/loss": 0.25}, step=4)
            with pytest.raises(OSError, match="No space left"):
                logger.save()
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"metrics.csv": before}
        logger.save()
        (tmp_path / "result.json").write_text('{"status": "finished"}')
    assert [row["step"] for row in csv.DictReader((tmp_path / "metrics.csv").open())] == ["3", "4"]


def raise_full_disk(*_: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("resumed", [True, False])
def test_an_earlier_log_stays_for_the_run_that_is_resumed_alone(resumed: bool, tmp_path: Path):
    (tmp_path / "metrics.csv").write_text("step\n1\n")
    with closing(RunLoggers({"name": "csv"}, tmp_path)) as loggers:
        loggers.open({**RUN, "resumed": resumed})
        assert (tmp_path / "metrics.csv").exists() is resumed


def test_tensorboard_writes_its_events(tmp_path: Path):
    assert log_something({"name": "tensorboard"}, tmp_path) == [CSVLogger, TensorBoardLogger]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(3, 0.5)]


def test_two_runs_of_one_process_are_two_wandb_runs(tmp_path: Path):
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        kinds = log_something(WANDB, tmp_path / name, {**RUN, "name": f"run-{name}"})
        assert kinds == [CSVLogger, WandbLogger]
        assert wandb.run is None
    for name in ("first", "second"):
        (found,) = offline_runs(tmp_path / name)
        assert (found.name, found.exit_code, found.logged("train/loss")) == (f"run-{name}", 0, {3: 0.5})


def test_one_that_was_never_opened_closes_nothing(tmp_path: Path):
    RunLoggers(WANDB, tmp_path).close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("record", [None, "half a rec", '{"status": "running"}'])
def test_a_run_whose_record_does_not_say_that_it_finished_has_failed(record: str | None, tmp_path: Path):
    loggers = RunLoggers(WANDB, tmp_path)
    loggers.open(RUN)
    if record is not None:
        (tmp_path / "result.json").write_text(record)
    loggers.close()
    (found,) = offline_runs(tmp_path)
    assert found.exit_code == 1


def test_an_unknown_logger_is_told_with_those_there_are(tmp_path: Path):
    with pytest.raises(UserError, match=r"^logger=neptune: .*csv, tensorboard, wandb$"):
        log_something({"name": "neptune"}, tmp_path)
