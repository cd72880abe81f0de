"""A run that was killed and is started again ends as if nothing had happened, bit for bit."""

import dataclasses
import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only

from peftlab.errors import UserError
from peftlab.results.record import RunRecord
from peftlab.run import run
from peftlab.training.checkpoint_files import SafeCheckpoints, read_checkpoint
from peftlab.training.loggers import logged_text
from peftlab.training.module import FineTuning
from peftlab.training.resumption import FOLDER, Resumption, _set_random_states
from runs import logged_rows, small, write_rte

EPOCHS, STEPS_PER_EPOCH = 3, 3
# What is a run's own: when, how long and how often; all else must be the same.
OWN = ("started", "seconds", "throughput", "memory", "resumed", "command", "config")


class KilledError(BaseException):
    """Ends a run as a kill does: nobody handles it."""


@pytest.fixture
def configured(glue: Path):
    """Return the configuration of a run of nine steps in three epochs."""

    def configure(overrides: str = "", strategy: str = "hifi") -> dict[str, Any]:
        where = f"task=rte data.root={glue} data.cache_dir={glue}/cache trainer.limit_val_batches=null"
        length = f"trainer.max_steps=-1 trainer.max_epochs={EPOCHS} trainer.log_every_n_steps=1"
        return small(f"{where} {length} {overrides}", strategy)

    return configure


def killed(config: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch, *place: Any) -> None:
    """Start the run with `place` (as `setattr` takes it) replaced by what kills it."""
    with monkeypatch.context() as patched:
        patched.setattr(*place)
        with pytest.raises(KilledError):
            run(config, folder)


def killed_at(step: int, config: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the run, and kill it in its training step number `step`, counted from 1 in this process."""
    train, count = FineTuning.training_step, 0

    def training_step(module, batch, index):
        nonlocal count
        count += 1
        if count == step:
            raise KilledError
        return train(module, batch, index)

    killed(config, folder, monkeypatch, FineTuning, "training_step", training_step)


def outcome(record: RunRecord) -> dict[str, Any]:
    """Return all that must not depend on an interruption: the record's facts, the log and the files' bytes."""
    facts = {f.name: getattr(record, f.name) for f in dataclasses.fields(record) if f.name not in (*OWN, "folder")}
    files = {path.name: path.read_bytes() for path in record.folder.iterdir() if path.is_file()}
    del files["result.json"], files["metrics.csv"]
    return facts | files | {"metrics.csv": logged_rows(record.folder)}


EVERY_STEP = "checkpoint.every_steps=1"

# Strategy, options, the steps after which it is killed: one kill after the other, each counted from where it went on.
RUNS = [
    ("hifi", "", [2]),  # before the first checkpoint
    ("hifi", "", [5]),  # in the second epoch: resumed from its start
    ("hifi", EVERY_STEP, [2, 2, 2, 2, 2]),
    ("hifi", f"{EVERY_STEP} data.num_workers=1", [6]),
    ("hifi", f"{EVERY_STEP} trainer.max_steps=8", [3, 2]),
    ("hifi", f"{EVERY_STEP} trainer.val_check_interval=1", [3, 3]),
    ("lora", f"{EVERY_STEP} training.schedule=cosine training.warmup=0.3", [2, 4]),
    ("bitfit", f"{EVERY_STEP} training.schedule=constant", [5]),
    ("lora", f"{EVERY_STEP} trainer.accumulate_grad_batches=2", [3, 3]),
    ("lora", f"{EVERY_STEP} trainer.check_val_every_n_epoch=2", [5]),
    ("lora", f"{EVERY_STEP} trainer.reload_dataloaders_every_n_epochs=1", [3, 3]),
    ("lora", f"{EVERY_STEP} trainer.reload_dataloaders_every_n_epochs=1 data.num_workers=1", [6]),
    ("lora", f"{EVERY_STEP} trainer.val_check_interval=4 trainer.check_val_every_n_epoch=null", [3, 3]),
    ("lora", f"{EVERY_STEP} trainer.overfit_batches=2", [4]),
    ("child-tuning", f"{EVERY_STEP} strategy.variant=F", [2, 4]),
    ("child-tuning", f"{EVERY_STEP} strategy.variant=D strategy.strict=true", [4]),
    ("full", f"{EVERY_STEP} shots=16 shots.per_class=4 shots.epochs=3", [2, 2]),
    ("diff-pruning", EVERY_STEP, [3, 3, 2]),  # under gates, in the step that follows pruning, with a fixed mask
    ("diff-pruning", f"{EVERY_STEP} trainer.max_steps=1", [1]),
    ("adapterdrop", EVERY_STEP, [4]),
    ("tiny-attention", EVERY_STEP, [4]),
    ("peft", f"{EVERY_STEP} strategy.method=adalora +strategy.options={{total_step:9,deltaT:1,target_r:2}}", [4, 2]),
]


@pytest.mark.parametrize(("strategy", "overrides", "kills"), RUNS)
def test_a_killed_run_ends_as_an_undisturbed_one(strategy, overrides, kills, configured, tmp_path, monkeypatch):
    config = configured(overrides, strategy)
    undisturbed = run(config, tmp_path / "undisturbed")
    for step in kills:
        killed_at(step, config, tmp_path / "killed", monkeypatch)
    again = run(config, tmp_path / "killed")
    assert outcome(again) == outcome(undisturbed)
    assert not (tmp_path / "killed" / FOLDER).exists()


def test_the_record_says_how_many_times_it_was_resumed_and_times_add_up(configured, tmp_path, monkeypatch):
    config = configured(EVERY_STEP)
    for _ in range(2):
        killed_at(3, config, tmp_path, monkeypatch)
    seconds = RunRecord.read(tmp_path).seconds.total
    record = run(config, tmp_path)
    assert record.resumed == 2
    assert record.seconds.total > seconds > 0
    assert record.throughput.examples_per_second == pytest.approx(EPOCHS * 40 / record.seconds.training)


# Rates at which no score moves: the second evaluation ends training, at an epoch's end or in its midst.
STOPS_EARLY = "training.learning_rate=1e-12 training.early_stopping=1 trainer.max_epochs=4"


@pytest.mark.parametrize(
    ("overrides", "kills", "steps"),
    [(STOPS_EARLY, [5], 6), (f"{STOPS_EARLY} {EVERY_STEP} trainer.val_check_interval=2", [2, 2], 5)],
)
def test_early_stopping_survives_kills(overrides, kills, steps, configured, tmp_path, monkeypatch):
    config = configured(overrides, "bitfit")
    undisturbed = run(config, tmp_path / "undisturbed")
    assert (undisturbed.training.stopped_early, undisturbed.training.steps) == (True, steps)
    for step in kills:
        killed_at(step, config, tmp_path / "killed", monkeypatch)
    killed(config, tmp_path / "killed", monkeypatch, "peftlab.training.fit.load_best", kill)  # once it has stopped
    monkeypatch.setattr(FineTuning, "training_step", kill)
    assert outcome(run(config, tmp_path / "killed")) == outcome(undisturbed)


def kill(*_: Any, **__: Any) -> None:
    raise KilledError


@pytest.mark.parametrize("place", ["run.save_delta", "run.fill_results", "training.fit.load_best"])
def test_after_training_only_evaluation_is_done_again(place, configured, tmp_path, monkeypatch):
    undisturbed = run(configured(), tmp_path / "undisturbed")
    killed(configured(), tmp_path / "killed", monkeypatch, f"peftlab.{place}", kill)
    monkeypatch.setattr(FineTuning, "training_step", kill)
    assert outcome(run(configured(), tmp_path / "killed")) == outcome(undisturbed)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_for_the_batch_and_leaves_a_checkpoint(number, configured, tmp_path, monkeypatch):
    config = configured("checkpoint.every_epoch=false")
    undisturbed = run(config, tmp_path / "undisturbed")
    handlers = {which: signal.signal(which, signal.default_int_handler) for which in (signal.SIGINT, signal.SIGTERM)}
    train, finished = FineTuning.training_step, []

    def training_step(module, batch, index):
        if len(finished) == 4:
            os.kill(os.getpid(), number)
        loss = train(module, batch, index)
        finished.append(index)
        return loss

    try:
        with monkeypatch.context() as patched:
            patched.setattr(FineTuning, "training_step", training_step)
            with pytest.raises(KeyboardInterrupt):
                run(config, tmp_path / "ended")
    finally:
        for which, handler in handlers.items():
            signal.signal(which, handler)
    assert len(finished) == 5
    assert RunRecord.read(tmp_path / "ended").status == "interrupted"
    assert outcome(run(config, tmp_path / "ended")) == outcome(undisturbed)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("training.learning_rate=0.5", "training.learning_rate=0.5: .* interrupted run with .*=0.001; resume with"),
        ("recipe.default.learning_rate=0.5", "training.learning_rate=0.5: .* run with .*=0.001; resume with"),
        ("recipe=minilm", "training.epochs=2: .* interrupted run with training.epochs=1; resume with"),
        ("trainer.max_steps=8", "trainer.max_steps=8: .* interrupted run with trainer.max_steps=-1; resume with"),
        ("strategy.selection=.", "strategy.selection=sha256:.* run with strategy.selection=None; resume with"),
    ],
)
def test_an_interrupted_run_is_not_resumed_with_another_setting(overrides, message, configured, tmp_path, monkeypatch):
    (tmp_path / "selection.json").write_text("another run's")
    monkeypatch.chdir(tmp_path)
    config = configured(f"task=demo trainer.limit_train_batches=3 {overrides}")
    killed_at(5, configured("task=demo trainer.limit_train_batches=3"), tmp_path / "run", monkeypatch)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=f"^{message}"):
        run(config, tmp_path / "run")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    "overrides",
    [
        "training.learning_rate=0.001",  # what the recipe gave
        "recipe.strategies.bitfit.default.learning_rate=0.5",  # another strategy's row
        "trainer.log_every_n_steps=3 trainer.profiler=simple",
        "deployment.pairs=7",
        "data.root={elsewhere} data.cache_dir=null",
    ],
)
def test_an_interrupted_run_is_resumed_where_nothing_that_counts_differs(overrides, configured, tmp_path, monkeypatch):
    killed_at(5, configured(), tmp_path / "run", monkeypatch)
    there = overrides.format(elsewhere=write_rte(tmp_path))
    added = " ".join(f"++{word}" if word.startswith("recipe.") else word for word in there.split())
    assert run(configured(added), tmp_path / "run").resumed == 1


def test_an_interrupted_run_is_not_resumed_on_other_data(configured, glue, tmp_path, monkeypatch):
    """Whatever the record says: the checkpoint itself knows what it was made of."""
    killed_at(5, configured(), tmp_path / "run", monkeypatch)
    elsewhere = write_rte(tmp_path / "elsewhere", train=44)
    config = configured(f"data.root={elsewhere}")
    (tmp_path / "run" / "result.json").write_text('{"schema": 1, "status": "running"')
    again = run(config, tmp_path / "run")
    undisturbed = run(config, tmp_path / "undisturbed")
    assert again.resumed == 0
    assert {**outcome(again), "result-unknown.json": b""} == {**outcome(undisturbed), "result-unknown.json": b""}


def test_an_interrupted_run_is_not_resumed_with_a_selection_that_was_edited(configured, tmp_path, monkeypatch):
    killed_at(5, configured(), tmp_path, monkeypatch)
    file = tmp_path / "selection.json"
    whole = file.read_text()
    file.write_text(whole.replace('"examples": 12', '"examples": 13'))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UserError, match=rf"^{file}: was changed since the run was interrupted; put it back, or remove"):
        run(configured(), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    file.write_text(whole)
    assert run(configured(), tmp_path).resumed == 1


def test_a_finished_run_is_begun_anew(configured, tmp_path, monkeypatch):
    config = configured()
    with monkeypatch.context() as patched:
        patched.setattr("peftlab.run.clear", lambda folder: None)  # killed just before it
        first = run(config, tmp_path)
    assert (tmp_path / FOLDER).exists()
    assert (run(config, tmp_path).resumed, first.resumed) == (0, 0)


def test_a_half_written_checkpoint_is_never_seen(configured, tmp_path, monkeypatch):
    """A kill while a checkpoint is written leaves the one before, and a temporary file that goes at the end."""
    config = configured(EVERY_STEP)
    undisturbed = run(config, tmp_path / "undisturbed")
    save, saved = Resumption._save, []

    def half(self, trainer):
        saved.append(1)
        if len(saved) < 3:
            return save(self, trainer)
        (tmp_path / "killed" / f".result.json.{'0' * 32}").write_text("half")
        (tmp_path / "killed" / FOLDER / f".last.safetensors.{'f' * 32}").write_text("half")
        raise KilledError

    killed(config, tmp_path / "killed", monkeypatch, Resumption, "_save", half)
    assert outcome(run(config, tmp_path / "killed")) == outcome(undisturbed)


@pytest.mark.parametrize("content", [b"", b"half", b"\x80\x04cposix\nsystem\n", None])
def test_a_damaged_checkpoint_is_named_and_left(content, configured, tmp_path, monkeypatch):
    killed_at(5, configured(), tmp_path, monkeypatch)
    file = tmp_path / FOLDER / "last.safetensors"
    file.write_bytes(file.read_bytes()[:-100] if content is None else content)
    record = (tmp_path / "result.json").read_text()
    with pytest.raises(UserError, match=r"last.safetensors: not a whole checkpoint .*; remove it to start anew"):
        run(configured(), tmp_path)
    assert (tmp_path / "result.json").read_text() == record
    assert json.loads(record)["status"] == "running"


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (lambda optimiser: optimiser["param_groups"][0].pop("eps"), "the optimiser's eps is None"),
        (lambda optimiser: optimiser["param_groups"][0].update(lr="fast"), "the optimiser's lr is 'fast'"),
        (lambda optimiser: optimiser["state"][0].update(exp_avg=torch.zeros(3)), r"exp_avg has shape \[3\]"),
    ],
)
def test_a_checkpoint_whose_optimiser_was_edited_is_named(edit, told, configured, tmp_path, monkeypatch):
    killed_at(5, configured(), tmp_path, monkeypatch)
    file = tmp_path / FOLDER / "last.safetensors"
    checkpoint = read_checkpoint(file)
    edit(checkpoint["optimizer_states"][0])
    SafeCheckpoints().save_checkpoint(checkpoint, file)
    with pytest.raises(UserError, match=rf"last.safetensors: not a whole checkpoint .*{told}.*; remove it"):
        run(configured(), tmp_path)


@pytest.mark.parametrize("rank", [0, 1])
def test_each_rank_gets_its_own_random_state_back(rank):
    states, drawn = [], []
    for seed in (1, 2):
        torch.manual_seed(seed)
        states.append(torch.get_rng_state())
        drawn.append(torch.rand(3))
    trainer = SimpleNamespace(strategy=SimpleNamespace(root_device=torch.device("cpu")))
    _set_random_states(trainer, {"cpu": torch.stack(states)[rank]})
    assert torch.equal(torch.rand(3), drawn[rank])


def test_of_several_ranks_the_first_alone_has_a_log(tmp_path, monkeypatch):
    logger = CSVLogger(tmp_path, name="", version="")
    logger.log_metrics({"train/loss": 0.5}, step=1)
    assert logged_text([logger]).splitlines()[0] == "step,train/loss"
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    assert logged_text([CSVLogger(tmp_path, name="", version="")]) == ""
