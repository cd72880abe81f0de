"""Around training: one look at the data before it, the time each part takes, a row an epoch."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from fitting import BATCH, TRAIN, fit
from lightning import Callback

from models import tiny
from peftlab.heads.selection import HeadSelection
from peftlab.strategies.hifi import HiFi
from peftlab.training import callbacks
from peftlab.training.callbacks import best_checkpoint, load_best

STEPS_PER_EPOCH = TRAIN // BATCH


class Looking(HiFi):
    """HiFi that notes what it was shown."""

    def select(self, preparation):
        model = preparation.backbone.model
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        self.shown = [*getattr(self, "shown", []), (model.training, weights)]
        return super().select(preparation)


@pytest.fixture
def looking() -> Looking:
    return Looking(k=1, n=5)


def test_the_strategy_looks_once_at_the_untouched_model_before_training(looking: Looking, tmp_path: Path):
    fitted = fit(tmp_path, looking, seed=4)
    fitted.trainer.validate(fitted.module, datamodule=fitted.data, verbose=False)
    ((training, weights),) = looking.shown
    assert not training
    fresh = tiny(seed=4).model.state_dict()
    assert weights.keys() == fresh.keys()
    assert all(torch.equal(value, fresh[name]) for name, value in weights.items())


def test_the_selection_is_kept_and_its_time_measured(looking: Looking, tmp_path: Path):
    attach = fit(tmp_path, looking, epochs=1).attach
    assert attach.selection is not None
    assert HeadSelection.load(tmp_path).heads == attach.selection.heads
    assert attach.seconds > 0


def test_a_strategy_that_selects_nothing_leaves_no_selection(tmp_path: Path):
    assert fit(tmp_path, "bitfit", epochs=1).attach.selection is None
    assert not (tmp_path / "selection.json").exists()


def test_the_time_of_training_and_that_of_evaluation_leave_out_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Clock(Callback):
        """A training step takes one second, an evaluation batch a hundred."""

        now = 0.0

        def on_train_batch_start(self, trainer, module, batch, index):
            self.now += 1

        def on_validation_batch_start(self, trainer, module, batch, index, loader=0):
            self.now += 100

    clock = Clock()
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    fitted = fit(tmp_path, callbacks=[clock], epochs=2)
    assert fitted.stopwatch.training == 2 * STEPS_PER_EPOCH
    assert fitted.stopwatch.evaluation == 200
    fitted.trainer.validate(fitted.module, datamodule=fitted.data, verbose=False)
    assert (fitted.stopwatch.training, fitted.stopwatch.evaluation) == (2 * STEPS_PER_EPOCH, 300)


def test_the_curve_has_a_row_an_epoch_with_loss_and_all_metrics(tmp_path: Path):
    class Losses(Callback):
        def __init__(self):
            self.seen = []

        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            self.seen.append(outputs["loss"].item())

    losses = Losses()
    rows = fit(tmp_path, callbacks=[losses], epochs=3, extra=["validation_mismatched"]).curve.rows
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    evaluated = [
        f"{split}/{name}" for split in ("validation", "validation_mismatched") for name in ("accuracy", "loss")
    ]
    columns = {"epoch", "train/loss", *evaluated}
    assert all(row.keys() == columns for row in rows)
    means = torch.tensor(losses.seen).reshape(3, -1).mean(1).tolist()
    assert [row["train/loss"] for row in rows] == pytest.approx(means)


def test_without_a_checkpoint_no_weights_are_loaded(tmp_path: Path):
    fitted = fit(tmp_path, epochs=1)
    before = fitted.weights()
    assert load_best(best_checkpoint(tmp_path / "empty", "accuracy"), fitted.module) is None
    assert all(torch.equal(value, before[name]) for name, value in fitted.weights().items())
