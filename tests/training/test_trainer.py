"""The Trainer takes Lightning's own arguments; what it refuses is told in one line."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from lightning import Trainer
from lightning.fabric.plugins.environments import SLURMEnvironment

from peftlab.cli import CONF
from peftlab.errors import UserError
from peftlab.training.precision import resolve_precision
from peftlab.training.trainer import build_trainer

CPU = {"accelerator": "cpu", "devices": 1}


def built(folder: Path, epochs: int = 7, **options: Any) -> Trainer:
    return build_trainer({**CPU, **options}, epochs, folder, [], [])


def test_the_epochs_are_the_settings_unless_the_trainer_is_told_others(tmp_path: Path):
    assert built(tmp_path).max_epochs == 7
    assert built(tmp_path, max_epochs=None).max_epochs == 7
    assert built(tmp_path, max_epochs=2).max_epochs == 2


def test_none_leaves_an_argument_to_lightning(tmp_path: Path):
    plain = Trainer(**CPU, logger=False, enable_checkpointing=False)
    left = built(tmp_path, gradient_clip_val=None, limit_val_batches=None, val_check_interval=None, benchmark=None)
    for name in ("gradient_clip_val", "limit_val_batches", "val_check_interval"):
        assert getattr(left, name) == getattr(plain, name), name


def test_an_argument_reaches_lightning(tmp_path: Path):
    trainer = built(tmp_path, gradient_clip_val=0.5, accumulate_grad_batches=3, max_steps=9, precision="bf16-mixed")
    assert (trainer.gradient_clip_val, trainer.accumulate_grad_batches, trainer.max_steps) == (0.5, 3, 9)
    assert trainer.precision == "bf16-mixed"


def test_within_slurm_lightning_puts_no_job_back_into_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, value in {
        "NTASKS": "1",
        "JOB_NAME": "train",
        "JOB_ID": "1",
        "PROCID": "0",
        "NODEID": "0",
        "LOCALID": "0",
    }.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    cluster = built(tmp_path, strategy="ddp").strategy.cluster_environment
    assert isinstance(cluster, SLURMEnvironment)
    assert not cluster.auto_requeue


@pytest.mark.parametrize("path", sorted((CONF / "trainer").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_choice_is_taken_by_lightning(path: Path, tmp_path: Path):
    given = {name: value for name, value in yaml.safe_load(path.read_text()).items() if name != "defaults"}
    options = resolve_precision({"trainer": given})["trainer"]
    if options.get("accelerator") == "gpu" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    assert isinstance(build_trainer(options, 3, tmp_path, [], []), Trainer)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"accelerator": "banana"}, "banana"),
        ({"precision": "banana"}, "banana"),
        ({"max_steps": "x"}, "max_steps=x: allowed is a whole number"),
        ({"max_epochs": "x"}, "max_epochs=x: allowed is a whole number"),
        ({"max_epochs": -3}, "max_epochs=-3"),
        ({"strategy": "banana"}, "banana"),
        ({"devices": 0}, "0"),
        ({"devices": "x"}, "devices=x"),
        ({"profiler": "banana"}, "profiler=banana"),
        ({"limit_train_batches": -1}, "-1"),
        ({"accumulate_grad_batches": 1.5}, "accumulate_grad_batches=1.5: allowed is a whole number"),
        ({"gradient_clip_val": "x"}, "x"),
        ({"gradient_clip_algorithm": "banana"}, "banana"),
        ({"speed": 1}, "speed"),
    ],
    ids=str,
)
def test_what_lightning_refuses_is_told_in_one_line(options: dict[str, Any], named: str, tmp_path: Path):
    with pytest.raises(UserError) as caught:
        built(tmp_path, **options)
    assert str(caught.value).startswith("trainer")
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_accelerator_that_is_not_there_is_told_in_one_line(tmp_path: Path):
    with pytest.raises(UserError, match=r"^trainer: No supported gpu backend found.*accelerator=gpu") as caught:
        built(tmp_path, accelerator="gpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "sparse_gradients", "finds"),
    [
        ({"devices": 2}, True, True),
        ({"devices": 2, "strategy": "ddp"}, True, True),
        ({"devices": 2}, False, False),
        ({"devices": 1}, True, False),
    ],
    ids=str,
)
def test_devices_that_leave_out_different_parts_ask_which(options, sparse_gradients: bool, finds: bool, tmp_path: Path):
    trainer = build_trainer({**CPU, **options}, 1, tmp_path, [], [], sparse_gradients)
    settings = getattr(trainer.strategy, "_ddp_kwargs", {})
    assert settings.get("find_unused_parameters", False) == finds
