"""Means are over examples, whatever the sizes of the batches that they came in."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import TRAIN, fit
from lightning import Callback
from torch import Tensor
from torch.utils.data import DataLoader

from peftlab.data.module import TaskData
from peftlab.training.means import MeanGradient, MeanLoss

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def test_a_mean_loss_weighs_each_batch_by_its_examples():
    mean = MeanLoss()
    mean.update(torch.tensor(3.0), 8)
    mean.update(torch.tensor(2.0), torch.tensor(2))
    assert mean.compute() == pytest.approx(2.8)
    mean.reset()
    mean.update(torch.tensor(4.0), 1)
    assert mean.compute() == 4.0


@pytest.mark.parametrize("sizes", [[8, 1, 3], [1, 8, 3], [12]])
def test_gradients_that_add_up_are_those_of_the_mean_over_all_examples(sizes: list[int]):
    inputs, weight = torch.randn(sum(sizes), 3, dtype=torch.float64), torch.nn.Parameter(torch.ones(3).double())
    (whole,) = torch.autograd.grad((inputs @ weight).square().mean(), [weight])
    mean = MeanGradient()
    for number, batch in enumerate(inputs.split(sizes)):
        mean.add(len(batch), begins=number == 0, mean_of_ranks=lambda value: value)
        mean.weigh((batch @ weight).square().mean(), [weight]).backward()
    torch.testing.assert_close(weight.grad, whole, rtol=1e-12, atol=0)


class Given(TaskData):
    """Batches as they are given, the same in every epoch."""

    rows: Sequence[Sequence[int]] = ()

    def train_dataloader(self) -> Any:
        collate = partial(self.kind.collate, encoder=self.encoder)
        return DataLoader(self.splits["train"], batch_sampler=self.rows, collate_fn=collate)


class Gradients(Callback):
    """Keeps the gradients that each step is taken with, and the mean loss of each epoch."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []
        self.losses: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        gradients = [p.grad.flatten() for group in optimizer.param_groups for p in group["params"]]
        self.steps.append(torch.cat(gradients).clone())

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.losses.append(float(trainer.callback_metrics["train/loss_epoch"]))


def stepped(
    folder: Path, rows: Sequence[Sequence[int]], accumulated: int, monkeypatch: pytest.MonkeyPatch
) -> Gradients:
    seen = Gradients()
    monkeypatch.setattr("fitting.TaskData", type("Rows", (Given,), {"rows": rows}))
    options = {"accumulate_grad_batches": accumulated, "gradient_clip_val": 1.0}
    fit(folder, "bitfit", callbacks=[seen], epochs=3, sizes=STILL, **options)
    return seen


def test_a_group_of_batches_is_one_batch_of_its_examples_the_last_short_one_too(tmp_path: Path, monkeypatch):
    order = torch.randperm(TRAIN, generator=torch.Generator().manual_seed(3)).tolist()
    parts = [order[:4], order[4:5], order[5:8], order[8:11], order[11:]]
    groups = [order[:8], order[8:]]
    apart = stepped(tmp_path / "apart", parts, 3, monkeypatch)
    together = stepped(tmp_path / "together", groups, 1, monkeypatch)
    assert len(apart.steps) == len(together.steps) == 6
    for ours, one in zip(apart.steps, together.steps, strict=True):
        torch.testing.assert_close(ours, one, rtol=1e-5, atol=1e-7)
    assert apart.losses == pytest.approx(together.losses, rel=1e-6)
