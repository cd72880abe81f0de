"""`--dry-run` says what a command would do, and does nothing."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from commands import command
from peftlab.cli import DryRun
from peftlab.dry_run import Run, cost_of
from peftlab.results.record import Seconds, Throughput, Training
from results.records import finished
from runs import SILENT, write_rte

SETTINGS = f"task=rte data.root=glue backbone=tiny trainer=cpu trainer.max_epochs=2 data.max_length=48 {SILENT}"


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    """Return what `python train.py` types, with its exit code, and what it prints."""
    write_rte(tmp_path / "glue")
    monkeypatch.setenv("PEFTLAB_CACHE", str(tmp_path / "cache"))

    def told(typed: str) -> tuple[int, str]:
        code = command(typed, tmp_path, monkeypatch)
        return code, "".join(capsys.readouterr())

    return told


def test_a_sweep_is_told_measured_by_the_command_it_names_and_counted(told, tmp_path):
    sweep = f"+strategy=bitfit {SETTINGS} -m training.learning_rate=1e-3,1e-4 seed=1,2,3 hydra.sweep.dir=out"
    there = sorted(tmp_path.iterdir())
    code, first = told(f"{sweep} --dry-run")
    assert (code, sorted(tmp_path.iterdir())) == (0, there)
    assert "to do: 6 of 6 runs, into out\nnot counted: 6 of them, of which no run was measured\n" in first
    measure = first.rpartition("to measure them: python train.py ")[2].strip()
    assert measure.endswith("seed=1 trainer.max_steps=50 hydra.sweep.dir=multirun/measured")
    assert told(measure.replace("max_steps=50", "max_steps=2"))[0] == 0
    measured = told(f"{sweep} --dry-run")[1]
    assert "2 steps" in measured
    assert "one after another: " in measured
    assert "not counted" not in measured
    assert told(f"+strategy=bitfit {SETTINGS} -m training.learning_rate=1e-3 seed=1,2 hydra.sweep.dir=out")[0] == 0
    done = told(f"{sweep} --dry-run")[1]
    assert "to do: 4 of 6 runs, into out" in done
    assert "whole runs" in done


def test_a_single_run_is_told_too(told, tmp_path):
    assert "to do: 1 of 1 runs, into run" in told(f"+strategy=bitfit {SETTINGS} hydra.run.dir=run --dry-run")[1]
    assert not (tmp_path / "run").exists()


def test_a_mistake_is_told_before_hours_are(told):
    code, said = told(f"+strategy=hifi {SETTINGS} strategy.k=abc --dry-run")
    assert (code, said) == (2, "error: strategy.k=abc: allowed is a whole number\n")


def test_runs_that_a_sweeper_will_choose_by_their_scores_cannot_be_told():
    asked = DryRun.of(OmegaConf.create({"hydra": {"mode": None, "run": {"dir": "run"}}}), None)
    assert str(asked.__cause__) == "--dry-run: a sweeper that searches chooses its runs as it goes"


def test_the_steps_of_a_run_that_was_cut_short_count_as_often_as_a_whole_runs_and_loading_once():
    config = finished().config
    cut = finished(
        config={**config, "trainer": {"max_steps": 20}},
        seconds=Seconds(selection=3.0, training=4.0, evaluation=1.0, total=10.0),
        throughput=Throughput(50.0),
        training=Training(steps=20, epochs=1, batch_size=16, learning_rate=1e-3),
        data={"examples": {"train": 100, "validation": 10}},
    )
    run = Run(7, "rte", 3, {**config, "trainer": {}})
    cost = cost_of(run, [cut])
    assert (cost.seconds, cost.steps) == (10 - 4 - 1 + 3 * (100 / 50 + 1), 20)  # three epochs of two seconds and one
    whole = [finished(config=config | {"trainer": {}}, seconds=Seconds(total=total)) for total in (70.0, 90.0)]
    assert cost_of(run, [cut, *whole]).seconds == 80
    other = finished(config={**config, "trainer": {}, "strategy": {"name": "hifi", "k": 4}})
    assert cost_of(run, [other]) is None
