"""A sweep that is started again does what is missing and nothing else, whatever stopped it."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import peftlab.run
from commands import command
from peftlab.errors import UserError
from peftlab.locks import exclusive_lock
from peftlab.plan import Plan
from peftlab.results.found import find_records
from peftlab.results.record import RunRecord
from peftlab.strategies.registry import strategy_names
from peftlab.training.module import FineTuning
from peftlab.training.trajectory import trajectory_files
from runs import SILENT, SMALL, write_rte

EXECUTE = peftlab.run.execute


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_rte(tmp_path / "glue")
    monkeypatch.setenv("PEFTLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def typed(work: Path) -> str:
    return f"+strategy=bitfit task=rte data.root=glue {SMALL} {SILENT} -m seed=1,2,3 hydra.sweep.dir=out"


@pytest.fixture
def tuned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the list of seeds that are really run from here on."""
    seeds: list[int] = []

    def execute(plan: Plan, *rest: Any) -> None:
        seeds.append(plan.seed)
        EXECUTE(plan, *rest)

    monkeypatch.setattr(peftlab.run, "execute", execute)
    return seeds


def stop_at(seed: int, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def execute(plan: Plan, *rest: Any) -> None:
        if plan.seed == seed:
            raise error
        EXECUTE(plan, *rest)

    monkeypatch.setattr(peftlab.run, "execute", execute)


def statuses(folder: Path) -> dict[int, str]:
    return {record.seed: record.status for record in find_records(folder)}


def test_a_run_that_is_named_twice_is_done_once_and_ascribed_to_nobody_else(work, typed, tuned, monkeypatch, capfd):
    assert command(typed.replace("1,2,3", "1,2,1"), work, monkeypatch) == 0
    assert tuned == [1, 2]
    said = capfd.readouterr().out
    assert "1 of 3 are runs that the command names more than once; each was done once" in said
    assert "other processes" not in said
    assert "finished before" not in said


def test_what_finished_is_not_done_again_and_stands_in_the_table(work, typed, tuned, monkeypatch, capfd):
    assert command(typed, work, monkeypatch) == 0
    assert tuned == [1, 2, 3]
    assert "3 seeds: against another method 3 pairs: no difference can be shown, 6 seeds can" in capfd.readouterr().out
    assert {record.config["recipe"] for record in find_records(work)} == {"tiny"}
    before = {path: path.read_bytes() for path in work.rglob("result.json")}
    capfd.readouterr()
    assert command(typed, work, monkeypatch) == 0
    assert tuned == [1, 2, 3]
    assert {path: path.read_bytes() for path in work.rglob("result.json")} == before
    printed = capfd.readouterr().out
    assert "3 of 3 had finished before and were not repeated" in printed
    assert re.search(r"^ bitfit +\d+\.\d ± \d+\.\d[*†‡]* +\d+\.\d +3 ", printed, re.MULTILINE)


def test_a_longer_sweep_in_the_same_folder_does_what_is_new(work, typed, tuned, monkeypatch):
    command(typed.replace("1,2,3", "1,2"), work, monkeypatch)
    command(typed.replace("1,2,3", "0,2,1"), work, monkeypatch)
    assert tuned == [1, 2, 0]
    assert len(find_records(work / "out")) == 3


def test_an_interrupted_sweep_goes_on_by_its_folder_alone(work, typed, monkeypatch, capfd):
    stop_at(2, KeyboardInterrupt(), monkeypatch)
    assert command(typed, work, monkeypatch) == 130
    assert statuses(work / "out") == {1: "finished", 2: "interrupted"}
    assert "python train.py resume=out" in capfd.readouterr().out
    done: list[int] = []
    monkeypatch.setattr(peftlab.run, "execute", lambda plan, *rest: (done.append(plan.seed), EXECUTE(plan, *rest)))
    assert command("resume=out", work, monkeypatch) == 0
    assert done == [2, 3]
    assert statuses(work / "out") == {1: "finished", 2: "finished", 3: "finished"}


def interrupted(typed: str, work: Path, monkeypatch: pytest.MonkeyPatch) -> RunRecord:
    """Interrupt the only run of a sweep in its second training step; a checkpoint of the first is there."""
    train = FineTuning.training_step

    def training_step(module: FineTuning, *batch: Any) -> Any:
        if module.trainer.global_step == 1:
            raise KeyboardInterrupt
        return train(module, *batch)

    with monkeypatch.context() as patched:
        patched.setattr(FineTuning, "training_step", training_step)
        assert command(typed, work, monkeypatch) == 130
    (record,) = find_records(work / "out")
    assert (record.status, record.resumed, len(record.id)) == ("interrupted", 0, 16)
    return record


@pytest.mark.parametrize(
    ("override", "code", "resumed"),
    [
        ("", None, 1),
        ("checkpoint.every_steps=2", None, 1),
        ("deployment.pairs=9 trainer.profiler=simple data.num_workers=1", None, 1),
        ("force=true", None, 0),
        ("checkpoint.trajectory=1", None, 0),  # its beginning cannot be had afterwards
        ("", "changed", 0),
    ],
)
def test_an_interrupted_run_of_a_sweep_goes_on_where_it_was(override, code, resumed, work, typed, monkeypatch):
    one = typed.replace("1,2,3", "1") + " checkpoint.every_steps=1"
    before = interrupted(one, work, monkeypatch)
    if code:
        monkeypatch.setattr("peftlab.identity.code_version", lambda strategy: code)
    assert command(f"{one} {override}".replace("every_steps=1 checkpoint.", ""), work, monkeypatch) == 0
    (record,) = find_records(work / "out")
    assert (record.status, record.resumed, record.folder) == ("finished", resumed, before.folder)
    assert (record.id == before.id) == (code is None)


def test_a_run_that_another_process_does_is_left_to_it(work, typed, monkeypatch, capfd):
    one = typed.replace("1,2,3", "1") + " checkpoint.every_steps=1"
    folder = interrupted(one, work, monkeypatch).folder
    files = {path: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "train.log"}
    capfd.readouterr()
    with exclusive_lock(folder):
        assert command(f"{one.replace('seed=1', 'seed=1,2')} force=true wait=false", work, monkeypatch) == 0
    assert {path: path.read_bytes() for path in files} == files
    assert (folder / "checkpoints" / "last.safetensors").exists()
    assert statuses(work / "out") == {1: "interrupted", 2: "finished"}
    printed = capfd.readouterr().out
    assert f"{folder.name}: another run is at work in this folder (process {os.getpid()} on " in printed
    assert "); on to the next" in printed
    assert "1 were left to another process" in printed
    assert "what is missing: python train.py resume=out" in printed


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (
            "+strategy=bitfit experiment=search search.trial=9",
            "training.learning_rate=no such search.trial: ",
        ),
        ("+strategy=bitfit experiment=search search.trial=x", "search.trial=x: allowed is a whole number"),
        ("+strategy=bitfit seed=${nowhere}", "Interpolation key 'nowhere' not found"),
    ],
)
def test_a_value_that_is_found_nowhere_is_one_line(typed, message, work, monkeypatch, capfd):
    assert command(f"{typed} task=rte data.root=glue {SMALL} {SILENT}", work, monkeypatch) == 2
    (line,) = {line for line in capfd.readouterr().err.splitlines() if line}
    assert line.startswith("error: ")
    assert message in line


def test_a_single_run_where_another_is_at_work_is_one_line(work, typed, monkeypatch, capfd):
    with exclusive_lock(work / "out"):
        single = typed.replace("-m seed=1,2,3 hydra.sweep.dir=out", "hydra.run.dir=out")
        assert command(single, work, monkeypatch) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"error: {work / 'out'}: another run is at work in this folder (process {os.getpid()} on ")


def test_a_failed_run_is_tried_again_and_the_others_are_not(work, typed, monkeypatch, capfd):
    stop_at(2, RuntimeError("out of memory"), monkeypatch)
    assert command(typed, work, monkeypatch) == 1
    assert statuses(work / "out") == {1: "finished", 2: "failed", 3: "finished"}
    assert "! bitfit: seed 2 failed: RuntimeError: out of memory" in capfd.readouterr().out
    stop_at(1, RuntimeError("never reached"), monkeypatch)
    assert command(typed, work, monkeypatch) == 0
    assert set(statuses(work / "out").values()) == {"finished"}


def test_force_repeats_and_keeps_the_earlier_record(work, typed, tuned, monkeypatch):
    one = typed.replace("1,2,3", "1")
    command(one, work, monkeypatch)
    (first,) = find_records(work / "out")
    command(f"{one} force=true", work, monkeypatch)
    assert tuned == [1, 1]
    (second,) = find_records(work / "out")
    assert (second.id, second.folder) == (first.id, first.folder)
    assert RunRecord.read(second.folder / f"result-{first.id}.json").started == first.started


def test_another_code_repeats_unless_any_will_do(work, typed, tuned, monkeypatch, capfd):
    one = typed.replace("1,2,3", "1")
    command(one, work, monkeypatch)
    monkeypatch.setattr("peftlab.identity.code_version", lambda strategy: "changed")
    command(f"{one} any_code=true", work, monkeypatch)
    assert tuned == [1]
    command(one, work, monkeypatch)
    assert tuned == [1, 1]
    assert "had finished (another code) and is run again; its record is kept" in capfd.readouterr().err


def test_what_is_to_be_measured_besides_is_measured_without_training_again(work, typed, tuned, monkeypatch):
    one = typed.replace("1,2,3", "1")
    command(one, work, monkeypatch)
    (first,) = find_records(work / "out")
    measured = f"{one} deployment.measure=true deployment.pairs=6"
    assert command(measured, work, monkeypatch) == 0
    (second,) = find_records(work / "out")
    assert second.deployment.delay.pairs == 6
    assert (second.folder, second.id, second.config["deployment"]["measure"]) == (first.folder, first.id, True)
    assert replace(second, deployment=None, config=first.config) == first
    before = (second.folder / "result.json").read_bytes()
    for again in (measured, one, f"{measured} deployment.length=999"):
        assert command(again, work, monkeypatch) == (2 if "999" in again else 0)
        assert (second.folder / "result.json").read_bytes() == before
    assert command(f"{measured} deployment.length=9", work, monkeypatch) == 0
    assert find_records(work / "out")[0].deployment.delay.length == 9
    assert tuned == [1]


def test_a_trajectory_that_was_not_kept_is_had_by_training_again(work, typed, tuned, monkeypatch, capfd):
    one = typed.replace("1,2,3", "1")
    command(one, work, monkeypatch)
    (first,) = find_records(work / "out")
    capfd.readouterr()
    command(f"{one} checkpoint.trajectory=1", work, monkeypatch)
    assert "had finished (without checkpoint.trajectory=1) and is run again" in capfd.readouterr().err
    assert list(trajectory_files(first.folder)) == [0, 2]
    assert (find_records(work / "out")[0].id, tuned) == (first.id, [1, 1])
    for again in (f"{one} checkpoint.trajectory=1", one):
        command(again, work, monkeypatch)
    assert (list(trajectory_files(first.folder)), tuned) == ([0, 2], [1, 1])
    shutil.rmtree(first.folder / "trajectory")
    command(f"{one} checkpoint.trajectory=1", work, monkeypatch)
    assert (list(trajectory_files(first.folder)), tuned) == ([0, 2], [1, 1, 1])


def test_the_same_data_elsewhere_is_the_same_run(work, typed, tuned, monkeypatch):
    one = typed.replace("1,2,3", "1")
    command(one, work, monkeypatch)
    write_rte(work / "elsewhere")
    shown = "trainer.log_every_n_steps=3 trainer.profiler=simple logger=tensorboard"
    command(f"{one.replace('data.root=glue', 'data.root=elsewhere')} {shown}", work, monkeypatch)
    assert (tuned, len(find_records(work / "out"))) == ([1], 1)


@pytest.mark.parametrize(
    ("strategy", "option"),
    [("hifi strategy.n=12", "selection"), ("child-tuning strategy.n=8", "selection"), ("tiny-attention", "start")],
)
def test_a_run_that_reads_another_selection_is_another_run(strategy, option, work, typed, tuned, monkeypatch):
    one = typed.replace("bitfit", strategy).replace("-m seed=1,2,3 hydra.sweep.dir=", "hydra.run.dir=")
    for seed in (1, 2):
        command(f"{one}-{seed} seed={seed}", work, monkeypatch)
    reads = f"{one} seed=3 strategy.{option}="
    shutil.copytree(work / "out-1", work / "now")
    ids = []
    for path, rerun in (("now", True), ("now", False), ("out-1", False), ("out-2", True)):
        tuned.clear()
        assert command(f"{reads}{path}", work, monkeypatch) == 0
        ids.append(RunRecord.read(work / "out").id)
        assert tuned == ([3] if rerun else []), path
    assert (len(set(ids[:3])), len(set(ids))) == (1, 2)
    shutil.rmtree(work / "now")
    shutil.copytree(work / "out-1", work / "now")
    command(f"{reads}now", work, monkeypatch)
    assert RunRecord.read(work / "out").id == ids[0]


@pytest.mark.parametrize("damage", ["delta", "record"])
def test_what_is_not_whole_is_not_finished(damage, work, typed, tuned, monkeypatch):
    one = typed.replace("1,2,3", "1")
    command(one, work, monkeypatch)
    (record,) = find_records(work / "out")
    if damage == "delta":
        (record.folder / "delta.safetensors").unlink()
    else:
        (record.folder / "result.json").write_text('{"schema": 1, "status": "fin')
    command(one, work, monkeypatch)
    assert tuned == [1, 1]
    assert find_records(work / "out")[0].status == "finished"


@pytest.mark.parametrize("mistake", ["seed=one", "shots.per_class=few", "strategy.k=3"])
def test_a_mistake_leaves_what_finished_as_it_is(mistake, work, typed, monkeypatch):
    single = typed.replace("-m seed=1,2,3 hydra.sweep.dir=out", "hydra.run.dir=out")
    assert command(single, work, monkeypatch) == 0
    before = (work / "out" / "result.json").read_bytes()
    assert command(f"{single} {mistake}", work, monkeypatch) == 2
    assert (work / "out" / "result.json").read_bytes() == before


def test_data_that_is_no_longer_there_leaves_what_finished_as_it_is(work, typed, tuned, monkeypatch, capfd):
    one = typed.replace("1,2,3", "1")
    command(one, work, monkeypatch)
    (path,) = work.rglob("result.json")
    before = path.read_bytes()
    assert command(one.replace("data.root=glue", "data.root=gone"), work, monkeypatch) == 2
    assert path.read_bytes() == before
    assert "error: data.root=gone: no such folder" in capfd.readouterr().err


def test_a_single_run_in_the_folder_of_a_finished_one_shows_it(work, typed, tuned, monkeypatch, capfd):
    one = typed.replace("-m seed=1,2,3 hydra.sweep.dir=out", "seed=1 hydra.run.dir=out")
    command(one, work, monkeypatch)
    assert command("resume=out", work, monkeypatch) == 0
    assert tuned == [1]
    assert "record: " in capfd.readouterr().out
    assert command(one.replace("seed=1", "seed=2"), work, monkeypatch) == 0
    assert tuned == [1, 2]
    assert len(list((work / "out").glob("result-*.json"))) == 1


def test_a_repeated_run_that_fails_leaves_no_delta_of_the_earlier_one(work, typed, monkeypatch):
    one = typed.replace("1,2,3", "1")
    command(one, work, monkeypatch)
    stop_at(1, RuntimeError("out of memory"), monkeypatch)
    command(f"{one} force=true", work, monkeypatch)
    (record,) = find_records(work / "out")
    assert record.status == "failed"
    assert not list(record.folder.glob("delta.*"))


@pytest.mark.parametrize("name", ["search", "table2-full"])
def test_an_experiment_over_strategies_takes_every_one_there_is(name, work, monkeypatch):
    seen: list[tuple[str, float | None]] = []

    def execute(plan: Plan, *rest: Any) -> None:
        seen.append((plan.strategy.name, plan.config["training"]["learning_rate"]))
        raise UserError("that is enough")

    monkeypatch.setattr(peftlab.run, "execute", execute)
    narrow = "search.trial=1,3" if name == "search" else "seed=1"
    typed = f"experiment={name} task=rte data.root=glue {SMALL} {SILENT} {narrow}"
    assert command(typed, work, monkeypatch) == 2
    assert {strategy for strategy, _ in seen} == set(strategy_names()) - {"peft", "adapterhub"}
    rates = [rate for strategy, rate in seen if strategy == "full"]
    assert rates == ([3e-5, 3e-4] if name == "search" else [None])
    assert len(find_records(work / "multirun" / name)) == len(seen)


def test_a_record_says_what_the_run_is(work, typed, monkeypatch):
    command(typed.replace("1,2,3", "1,2"), work, monkeypatch)
    first, second = find_records(work / "out")
    assert first.id != second.id
    assert first.identity.keys() == {"settings", "data", "backbone", "code"}
    same = {part for part in first.identity if first.identity[part] == second.identity[part]}
    assert same == {"data", "backbone", "code"}
    assert json.loads((first.folder / "result.json").read_text())["id"] == first.id
