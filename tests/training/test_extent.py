"""How much a run does: what its Trainer's arguments cut off, and which of them its data does not allow."""

from inspect import signature
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from fitting import TRAIN, fit
from lightning import Callback, Trainer

from peftlab.cli import CONF
from peftlab.results.record import CutShort, RunRecord
from peftlab.run import run
from peftlab.training.arguments import OWNED
from runs import refused, small, write_rte

# 40 examples in batches of 8 for two epochs: 10 steps; 12 examples in batches of 4.
WHOLE = "training.batch_size=8 data.eval_batch_size=4 trainer.max_epochs=2 trainer.max_steps=-1"
FEW = "shots=16 shots.per_class=4 shots.epochs=2"


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"task=rte data.root={write_rte(tmp_path_factory.mktemp('rte'))} data.cache_dir=null"


def configured(where: str, options: str) -> dict[str, Any]:
    return small(f"{where} trainer.limit_val_batches=null {WHOLE} {options}", "bitfit")


CUT = [
    ("trainer.max_steps=3", 3, ["max_steps=3"], []),
    ("trainer.fast_dev_run=true", 1, ["fast_dev_run=True"], ["fast_dev_run=True"]),
    ("trainer.fast_dev_run=2 trainer.accumulate_grad_batches=4", 1, ["fast_dev_run=2"], ["fast_dev_run=2"]),
    ("trainer.overfit_batches=2", 4, ["overfit_batches=2"], ["overfit_batches=2"]),
    ("trainer.limit_train_batches=0.4 trainer.max_steps=3", 3, ["limit_train_batches=0.4", "max_steps=3"], []),
    ("trainer.limit_val_batches=2", 10, [], ["limit_val_batches=2"]),
    ("trainer.max_time=00:00:00:00 trainer.min_epochs=1", 5, ["max_time=00:00:00:00"], []),
    (f"{FEW} trainer.limit_test_batches=0", 2, [], ["limit_test_batches=0"]),
    (f"{FEW} trainer.limit_test_batches=0.5", 2, [], ["limit_test_batches=0.5"]),
    # All that there is, by arguments that could have cut it.
    ("trainer.max_steps=10 trainer.limit_train_batches=5 trainer.limit_val_batches=1.0", 10, [], []),
    ("trainer.max_epochs=-1 trainer.max_steps=3", 3, [], []),
    ("trainer.max_time=00:01:00:00 trainer.limit_test_batches=0", 10, [], []),
    # A duration, and batches counted across epochs, as Lightning has them.
    ("trainer.val_check_interval=00:00:10:00", 10, [], []),
    ("trainer.val_check_interval=7 trainer.check_val_every_n_epoch=null", 10, [], []),
]


@pytest.mark.parametrize(("options", "steps", "training", "evaluation"), CUT, ids=lambda value: str(value))
def test_the_record_says_what_cut_the_run_short(options, steps, training, evaluation, where: str, tmp_path: Path):
    record = run(configured(where, options), tmp_path)
    assert record.training is not None
    assert record.training.steps == steps
    assert record.cut_short == CutShort(*([f"trainer.{name}" for name in names] for names in (training, evaluation)))
    assert RunRecord.read(tmp_path).cut_short == record.cut_short


REFUSED = [
    (f"{FEW} trainer.accumulate_grad_batches=4", "trainer.accumulate_grad_batches=4: allowed are 1 to 1, the batches"),
    ("trainer.accumulate_grad_batches=6", "trainer.accumulate_grad_batches=6: allowed are 1 to 5, the batches"),
    ("trainer.val_check_interval=6", "trainer.val_check_interval=6: allowed are 1 to 5, the batches"),
    ("trainer.val_check_interval=0.0", "trainer.val_check_interval=0.0: allowed are 1 to 5, the batches"),
    ("trainer.max_epochs=-1", "trainer.max_epochs=-1: allowed with trainer.max_steps alone"),
    ("trainer.min_epochs=3", "trainer.min_epochs=3: allowed are 0 to 2, max_epochs"),
    ("trainer.min_steps=11", "trainer.min_steps=11: allowed are 0 to 10, the steps of all epochs"),
    ("trainer.min_steps=4 trainer.max_steps=3", "trainer.min_steps=4: allowed are 0 to 3, max_steps"),
    ("trainer.max_time=00:00:00:00", "trainer: training ended before its first step (trainer.max_time)"),
    ("trainer.max_time=soon", "trainer: `Timer(duration='soon')` is not a valid duration"),
    ("trainer.num_sanity_val_steps=-2", "trainer.num_sanity_val_steps=-2: allowed is 0 or more, or -1 for no end"),
    ("trainer.log_every_n_steps=-1", "trainer.log_every_n_steps=-1: allowed is 0 or more"),
    ("trainer.gradient_clip_val=-1", "trainer.gradient_clip_val=-1: allowed is 0 or more"),
    ("trainer.strategy=ddp_spawn", "trainer.strategy=ddp_spawn: it copies a run into other processes"),
    ("trainer.strategy=deepspeed", "trainer.strategy=deepspeed: it shares out what is tuned, too; allowed are ddp"),
    ("trainer.strategy=fsdp training.compile=eager", "trainer.strategy=fsdp: allowed is ddp, training.compile=eager"),
    ("+trainer.logger=false", "trainer.logger=False: a run makes this itself, choose one with logger=csv"),
    ("+trainer.limit_predict_batches=1", "trainer.limit_predict_batches=1: a run makes this itself"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED, ids=lambda value: value)
def test_what_would_not_be_done_is_refused_in_a_line(options: str, message: str, where: str, tmp_path: Path):
    assert refused(configured(where, options), tmp_path).startswith(message)


def test_every_argument_of_lightning_can_be_set_or_is_refused_by_its_name():
    settable = set(yaml.safe_load((CONF / "trainer" / "auto.yaml").read_text()))
    arguments = set(signature(Trainer.__init__).parameters) - {"self"}
    assert settable | OWNED.keys() == arguments
    assert not settable & OWNED.keys()


class Seen(Callback):
    """Notes the examples of each training batch."""

    def __init__(self) -> None:
        self.rows: list[list[int]] = []

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.rows.append(batch["index"].tolist())


def test_what_is_overfitted_is_the_same_in_every_epoch(tmp_path: Path):
    seen = Seen()
    fit(tmp_path, callbacks=[seen], epochs=3, overfit_batches=2)
    assert seen.rows[:2] == seen.rows[2:4] == seen.rows[4:]
    whole = Seen()
    fit(tmp_path, callbacks=[whole], epochs=2)
    assert sorted(chain.from_iterable(whole.rows[:3])) == list(range(TRAIN))
    assert whole.rows[:2] == seen.rows[:2]
    assert whole.rows[3:5] != seen.rows[:2]


@pytest.mark.parametrize("workers", [0, 1])
def test_loaders_made_anew_each_epoch_give_the_same_batches(workers: int, tmp_path: Path):
    orders = []
    for every in (0, 1):
        seen = Seen()
        loaders = {"num_workers": workers}
        fit(tmp_path, callbacks=[seen], epochs=3, data_options=loaders, reload_dataloaders_every_n_epochs=every)
        orders.append(seen.rows)
    assert orders[0] == orders[1]
