"""Weights kept on the way: which, when, and that a run does not notice."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from peftlab.run import run
from peftlab.training.callbacks import LearningCurve
from peftlab.training.module import FineTuning
from peftlab.training.trajectory import FOLDER, trajectory_files
from runs import small


@pytest.fixture
def configured(glue: Path):
    """Return the configuration of a run of six steps in two epochs."""

    def configure(overrides: str = "", strategy: str = "hifi") -> dict[str, Any]:
        where = f"task=rte data.root={glue} data.cache_dir={glue}/cache trainer.limit_val_batches=null"
        return small(f"{where} trainer.max_steps=-1 trainer.max_epochs=2 {overrides}", strategy)

    return configure


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / FOLDER).iterdir()}


# Strategy, options, and the steps after which weights are kept.
KEPT = [
    ("hifi", "checkpoint.trajectory=3", [0, 2, 4, 6]),
    ("hifi", "checkpoint.trajectory=4", [0, 2, 3, 4, 6]),
    ("full", "checkpoint.trajectory=100", [0, 1, 2, 3, 4, 5, 6]),
    ("lora", "checkpoint.trajectory=1 trainer.max_steps=5", [0, 5]),
    ("lora", "checkpoint.trajectory=2 trainer.accumulate_grad_batches=2", [0, 2, 4]),
    ("diff-pruning", "checkpoint.trajectory=6", [4, 5, 6]),  # what its first stage tunes is of another kind
]


@pytest.mark.parametrize(("strategy", "overrides", "steps"), KEPT)
def test_weights_are_kept_at_equal_distances_from_the_start_to_the_end(
    strategy, overrides, steps, configured, tmp_path
):
    run(configured(overrides, strategy), tmp_path)
    found = trajectory_files(tmp_path)
    assert list(found) == steps
    for path in found.values():
        assert load_file(path).keys() == load_file(tmp_path / "delta.safetensors").keys()


def test_a_run_ends_bit_for_bit_as_it_would_without(configured, tmp_path):
    for name, overrides in (("with", "checkpoint.trajectory=3"), ("without", "")):
        run(configured(overrides), tmp_path / name)
    first, second = (tmp_path / name / "delta.safetensors" for name in ("with", "without"))
    assert first.read_bytes() == second.read_bytes()
    assert not (tmp_path / "without" / FOLDER).exists()


def test_the_best_epochs_weights_are_among_those_kept(configured, tmp_path):
    record = run(configured("checkpoint.trajectory=6"), tmp_path)
    best = load_file(trajectory_files(tmp_path)[3 * record.training.best_epoch])
    delta = load_file(tmp_path / "delta.safetensors")
    assert all(torch.equal(tensor, delta[name]) for name, tensor in best.items())


class KilledError(BaseException):
    """Ends a run as a kill does."""


def test_a_run_that_goes_on_leaves_the_same_weights_as_an_undisturbed_one(configured, tmp_path, monkeypatch):
    config = configured("checkpoint.trajectory=6 checkpoint.every_steps=1")
    run(config, tmp_path / "undisturbed")
    train, count = FineTuning.training_step, iter(range(100))

    def training_step(module, batch, index):
        if next(count) == 3:
            raise KilledError
        return train(module, batch, index)

    with monkeypatch.context() as patched:
        patched.setattr(FineTuning, "training_step", training_step)
        with pytest.raises(KilledError):
            run(config, tmp_path / "killed")
    assert list(trajectory_files(tmp_path / "killed")) == [0, 1, 2, 3]
    run(config, tmp_path / "killed")
    assert files(tmp_path / "killed") == files(tmp_path / "undisturbed")


def test_a_run_that_stops_early_keeps_its_end(configured, tmp_path, monkeypatch):
    ends = LearningCurve.on_train_epoch_end

    def stop(curve, trainer, module):
        ends(curve, trainer, module)
        trainer.should_stop = True

    monkeypatch.setattr(LearningCurve, "on_train_epoch_end", stop)
    run(configured("checkpoint.trajectory=1"), tmp_path)
    assert list(trajectory_files(tmp_path)) == [0, 3]


def test_a_new_run_in_the_folder_leaves_none_of_the_old_ones_way(configured, tmp_path):
    run(configured("checkpoint.trajectory=2"), tmp_path)
    run(configured("force=true"), tmp_path)
    assert trajectory_files(tmp_path) == {}


def test_other_files_are_no_part_of_a_trajectory(tmp_path):
    folder = tmp_path / FOLDER
    folder.mkdir()
    for name in ("step-0000010.safetensors", "step-0000002.safetensors", "step-x.safetensors", "notes.txt"):
        (folder / name).write_text("")
    assert list(trajectory_files(tmp_path)) == [2, 10]
