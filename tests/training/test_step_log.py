"""What is logged of a step is what the optimiser does; the speed is that of training alone."""

import csv
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from peftlab.run import run
from peftlab.training.module import FineTuning
from runs import small

STEPS, BATCH = 6, 8


def rows(folder: Path, *names: str) -> list[list[float]]:
    """Return the rows of the log that have all these columns, as numbers."""
    with (folder / "metrics.csv").open(newline="") as file:
        found = [[row.get(name, "") for name in ("step", *names)] for row in csv.DictReader(file)]
    return [[float(value) for value in row] for row in found if all(row)]


def configured(options: str = "", strategy: str = "lora") -> dict[str, Any]:
    length = f"trainer.max_steps={STEPS} training.batch_size={BATCH} trainer.log_every_n_steps=1"
    return small(f"{length} trainer.limit_val_batches=null {options}", strategy)


@pytest.mark.parametrize(
    ("every", "accumulated", "steps"), [(1, 1, [0, 1, 2, 3, 4, 5]), (2, 1, [1, 3, 5]), (2, 2, [1, 3, 5])]
)
def test_rate_and_norm_are_those_of_the_step(every: int, accumulated: int, steps: list[int], tmp_path, monkeypatch):
    seen: list[tuple[float, float]] = []
    clip = FineTuning.configure_gradient_clipping

    def configure_gradient_clipping(module, optimizer, *args, **kwargs):
        gradients = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"]]
        seen.append((optimizer.param_groups[0]["lr"], torch.cat(gradients).norm().item()))
        clip(module, optimizer, *args, **kwargs)

    monkeypatch.setattr(FineTuning, "configure_gradient_clipping", configure_gradient_clipping)
    run(configured(f"trainer.log_every_n_steps={every} trainer.accumulate_grad_batches={accumulated}"), tmp_path)
    found = rows(tmp_path, "train/learning_rate", "train/gradient_norm")
    assert found == [[step, *map(pytest.approx, seen[step])] for step in steps]


def test_the_rate_follows_the_schedule(tmp_path: Path):
    run(configured("training.learning_rate=1e-2 training.warmup=0"), tmp_path)
    found = [rate for _, rate in rows(tmp_path, "train/learning_rate")]
    assert found == pytest.approx([1e-2 * (STEPS - step) / STEPS for step in range(STEPS)])


def test_the_speed_is_that_of_training_without_evaluation(tmp_path: Path, monkeypatch):
    """Each step takes 0.05 s at least, each evaluation 1 s."""
    train, evaluate = FineTuning.training_step, FineTuning.on_validation_epoch_start

    def training_step(module, batch, index):
        time.sleep(0.05)
        return train(module, batch, index)

    def on_validation_epoch_start(module):
        time.sleep(1.0)
        evaluate(module)

    monkeypatch.setattr(FineTuning, "training_step", training_step)
    monkeypatch.setattr(FineTuning, "on_validation_epoch_start", on_validation_epoch_start)
    run(configured("trainer.val_check_interval=2"), tmp_path)
    found = [speed for _, speed in rows(tmp_path, "train/examples_per_second")]
    assert len(found) == STEPS
    assert max(found) <= BATCH / 0.05
    assert min(found) > BATCH / 1.0  # an evaluation that counted would make it less


def test_the_validation_loss_is_the_mean_over_examples(tmp_path: Path):
    """The last batch is smaller; the loss of all examples at once is the reference."""
    ragged = run(configured("trainer.val_check_interval=3 data.eval_batch_size=7"), tmp_path / "ragged")
    whole = run(configured("trainer.val_check_interval=3 data.eval_batch_size=64"), tmp_path / "whole")
    assert ragged.data["examples"]["validation"] % 7
    values = [[loss for _, loss in rows(record.folder, "validation/loss")] for record in (ragged, whole)]
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    assert ragged.curve[-1]["validation/loss"] == values[0][-2]  # the last in training
    assert "validation/loss" not in ragged.metric.further
