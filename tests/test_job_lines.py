"""What a sweep says of each of its runs, and of the time that is left."""

import time

import pytest

from peftlab.job_lines import first_line, last_line
from peftlab.outcome import Outcome, Progress, begin_sweep, progress_of, write_outcome
from peftlab.results.record import Metric, Parameters, RunRecord, Seconds


@pytest.mark.parametrize(
    ("progress", "told"),
    [
        (None, ""),
        (Progress(done=3, worked=3, runs=12, seconds=90), "; 3 of 12 runs done, about 4 min left"),
        (Progress(done=3, worked=1, runs=4, seconds=20), "; 3 of 4 runs done, about 20 s left"),
        (Progress(done=2, worked=0, runs=4, seconds=20), "; 2 of 4 runs done"),
        (Progress(done=4, worked=4, runs=4, seconds=20), "; 4 of 4 runs done"),
        (Progress(done=4, worked=4, runs=None, seconds=20), "; 4 runs done"),
        (Progress(done=1, worked=1, runs=5, seconds=7200), "; 1 of 5 runs done, about 8.0 h left"),
    ],
)
def test_how_far_a_sweep_is(progress, told, tmp_path):
    assert last_line(Outcome(tmp_path, "already finished"), progress) == f"already finished{told}"


@pytest.mark.parametrize(
    ("metric", "status", "told"),
    [
        (Metric("accuracy", validation=0.8123), "finished", "lora, seed 2: accuracy 81.2 in 14 s"),
        (Metric("f1", validation=0.7, test=0.655), "finished", "lora, seed 2: f1 65.5 in 14 s"),
        (Metric("mse", validation=0.25, better="lower", unit=""), "finished", "lora, seed 2: mse 0.250 in 14 s"),
        (None, "skipped", "skipped: no room"),
        (None, "mistake", "failed"),
        (None, "crashed", "failed"),
    ],
)
def test_what_became_of_a_run(metric, status, told, tmp_path):
    if metric:
        RunRecord(
            task="rte",
            strategy="lora",
            backbone="tiny",
            seed=2,
            status="finished",
            metric=metric,
            parameters=Parameters(10, 1, 1),
            seconds=Seconds(total=14.2),
        ).write(tmp_path)
    assert last_line(Outcome(tmp_path, status, "no room"), None) == told


def test_a_folder_below_is_named_from_here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = {name: {"name": name} for name in ("backbone", "task", "strategy")}
    config |= {"shots": {"per_class": None}, "seed": 1}
    assert first_line(config, tmp_path / "outputs" / "a").endswith("seed 1, into outputs/a")
    assert first_line(config, tmp_path.parent / "a").endswith(f"seed 1, into {tmp_path.parent / 'a'}")


def test_a_folder_of_weights_goes_by_its_own_name(tmp_path):
    config = {name: {"name": name} for name in ("task", "strategy")}
    config |= {"backbone": {"name": None, "path": "models/mine"}, "shots": {"per_class": None}, "seed": 1}
    assert first_line(config, tmp_path).startswith("loading mine and task for strategy, seed 1")


def test_any_process_can_tell_how_far_a_sweep_is(tmp_path):
    assert progress_of(tmp_path, "token") is None
    began = time.time()
    begin_sweep(tmp_path, "token", 5)
    statuses = ("finished", "started", "already finished", "mistake", "busy")
    for number, status in enumerate(statuses):
        write_outcome(Outcome(tmp_path, status), tmp_path, "token", number)
    progress = progress_of(tmp_path, "token")
    assert (progress.done, progress.worked, progress.runs) == (4, 2, 5)
    assert 0 <= progress.seconds <= time.time() - began + 0.01
