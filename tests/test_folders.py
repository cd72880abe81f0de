"""A folder is left as it was by a command that is refused, a user's files are the user's, and nothing is mixed."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from commands import command
from peftlab.job_files import commands_of
from peftlab.locks import exclusive_lock
from peftlab.results.found import find_records
from peftlab.results.record import RunRecord
from peftlab.training.module import FineTuning
from peftlab.training.trajectory import trajectory_files
from runs import SILENT, SMALL, write_rte

LEFT = "0" * 32


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished run in `out` that kept its trajectory, and one in `stopped` that was interrupted."""
    work = tmp_path_factory.mktemp("made")
    write_rte(work / "glue")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PEFTLAB_CACHE", str(work / "cache"))
        assert command(f"{RUN} checkpoint.trajectory=1 hydra.run.dir=out", work, patched) == 0
        with pytest.MonkeyPatch.context() as inner:
            stop_at(1, inner)
            assert command(f"{RUN} checkpoint.every_steps=1 hydra.run.dir=stopped", work, patched) == 130
    return work


@pytest.fixture
def work(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to type commands in."""
    monkeypatch.setenv("PEFTLAB_CACHE", str(made / "cache"))
    return Path(shutil.copytree(made, tmp_path / "work"))


RUN = f"+strategy=bitfit task=rte data.root=glue {SMALL} {SILENT}"


def stop_at(step: int, patched: pytest.MonkeyPatch, act: Any = None) -> None:
    """Interrupt a run in its training step after `step` others, or do something else there."""
    train = FineTuning.training_step

    def training_step(module: FineTuning, *batch: Any) -> Any:
        if module.trainer.global_step == step:
            if act is None:
                raise KeyboardInterrupt
            act()
        return train(module, *batch)

    patched.setattr(FineTuning, "training_step", training_step)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


REFUSED = [
    "{run} hydra.run.dir=out training.learning_rate=-1",
    "{run} hydra.run.dir=out force=true training.learning_rate=-1",
    "{run} hydra.run.dir=out force=no",
    "{run} hydra.run.dir=out force=flase",
    "{run} hydra.run.dir=out any_code=no",
    "{run} hydra.run.dir=out force=true task.name=x/../../y",
    "{run} hydra.run.dir=out force=true backbone.name=..",
    "resume=out force=true seed=x",
    "resume=out force=true data.root=gone",
    "resume=out +lr=1",
    "resume=stopped training.learning_rate=-1",
    "resume=stopped training.learning_rate=0.5",
    "resume=stopped recipe=minilm",
    "{run} hydra.run.dir=mine",
    *("{run} hydra.run.dir=new " + wrong for wrong in ("training.batch_size=0", "training.lr=1", "strategy.foo=1")),
    "{run} hydra.run.dir=new task=cola",
    "{run} hydra.sweep.dir=new -m training.batch_size=0",
]


@pytest.mark.parametrize("typed", REFUSED)
def test_a_refused_command_leaves_everything_as_it_was(typed, work, monkeypatch, capfd):
    (work / "mine").mkdir()
    (work / "mine" / "delta.safetensors").write_text("mine")
    before = contents(work)
    assert command(typed.format(run=RUN), work, monkeypatch) == 2
    assert len([line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]) == 1
    assert contents(work) == before
    assert sorted(path.name for path in work.iterdir()) == ["cache", "glue", "mine", "out", "stopped"]


def test_a_command_for_a_folder_where_another_is_at_work_leaves_what_it_wrote(work, monkeypatch, capfd):
    before = contents(work)
    with exclusive_lock(work / "stopped"):
        assert command(f"{RUN} hydra.run.dir=stopped seed=2 force=true", work, monkeypatch) == 2
    assert "another run is at work in this folder" in capfd.readouterr().err
    assert contents(work) == before


@pytest.mark.parametrize(
    "name",
    [
        *("checkpoints/model.pt", "trajectory/points.csv", "delta.safetensors", "delta.json", "metrics.csv"),
        *("train.log", "result.json", ".hydra/hydra.yaml", "selection.json"),
    ],
)
def test_a_folder_with_what_no_run_left_is_refused(name, made, tmp_path, monkeypatch, capfd):
    (tmp_path / "mine" / name).parent.mkdir(parents=True)
    (tmp_path / "mine" / name).write_text("{}")
    before = contents(tmp_path)
    typed = RUN.replace("bitfit", "hifi").replace("=glue", f"={made}/glue")
    assert command(f"{typed} hydra.run.dir=mine", tmp_path, monkeypatch) == 2
    place = tmp_path / "mine" / name.partition("/")[0]
    assert capfd.readouterr().err.startswith(f"error: {place}: a run would write there, and no run of the laboratory")
    assert contents(tmp_path) == before


def test_what_a_user_keeps_beside_a_run_stays_and_what_killed_ones_left_goes(work, monkeypatch):
    mine = ["notes.md", f".env.{LEFT}", "checkpoints/model.pt", "trajectory/points.csv", f"trajectory/.env.{LEFT}"]
    left = [
        *("checkpoints/last.safetensors", f"checkpoints/.best.safetensors.{LEFT}"),
        *(f"trajectory/.step-0000001.safetensors.{LEFT}", f".result.json.{LEFT}", f".delta.json.{LEFT}"),
    ]
    for name in (*mine, *left):
        (work / "out" / name).parent.mkdir(exist_ok=True)
        (work / "out" / name).write_text(name)
    for typed in (f"{RUN} hydra.run.dir=out", f"{RUN} hydra.run.dir=out force=true"):
        assert command(typed, work, monkeypatch) == 0
        assert [name for name in mine if not (work / "out" / name).exists()] == []
        assert [name for name in left if (work / "out" / name).exists()] == []
    assert not trajectory_files(work / "out")


def test_another_strategy_in_the_folder_inherits_nothing_and_every_record_is_kept(work, monkeypatch):
    hifi = f"{RUN.replace('bitfit', 'hifi')} strategy.n=8 hydra.run.dir=out"
    assert command(hifi, work, monkeypatch) == 0
    assert {"selection.json", "selection.png"} <= {path.name for path in (work / "out").iterdir()}
    for _ in range(2):
        assert command(f"{RUN} hydra.run.dir=out force=true", work, monkeypatch) == 0
    assert not list((work / "out").glob("selection*"))
    kept = [RunRecord.read(path) for path in (work / "out").glob("result-*.json")]
    assert sorted(record.strategy for record in kept) == ["bitfit", "bitfit", "hifi"]
    assert len({record.started for record in kept}) == 3


def test_commands_of_one_second_have_folders_of_their_own(work, monkeypatch):
    folders: list[Path] = []
    monkeypatch.setattr("peftlab.run.run_unless_finished", lambda config, folder, *_: folders.append(folder))
    for more in ("", "", "-m seed=1", "-m seed=1"):
        assert command(f"{RUN} {more}", work, monkeypatch) == 0
    names = [str(folder.relative_to(work)) for folder in folders]
    assert len(set(names)) == 4
    assert re.fullmatch(r"outputs/[\d-]+/[\d-]+-bitfit-rte-seed1-[0-9a-f]{8}", names[0])
    assert re.fullmatch(r"multirun/[\d-]+/[\d-]+-[0-9a-f]{8}/bitfit-rte-seed1-[0-9a-f]{8}", names[2])


def test_a_second_command_into_a_sweep_s_folder_adds_to_what_is_resumed(work, monkeypatch, capfd):
    sweep = f"{RUN} -m hydra.sweep.dir=sweep"
    with pytest.MonkeyPatch.context() as patched:
        stop_at(1, patched)
        assert command(f"{sweep} seed=1", work, monkeypatch) == 130
        assert command(f"{sweep} seed=2 training.learning_rate=0.01", work, monkeypatch) == 130
        before = {path: path.read_bytes() for path in (*commands_of(work / "sweep"), work / "sweep" / "multirun.yaml")}
        assert command(f"{sweep} seed=3 training.learning_rate=-1", work, monkeypatch) == 2
        assert command(f"{sweep} seed=1", work, monkeypatch) == 130  # typed again, it is no third
    assert len(before) == 3
    assert commands_of(work / "sweep") == list(before)[:2]
    capfd.readouterr()
    assert command("resume=sweep", work, monkeypatch) == 0
    found = {record.seed: record for record in find_records(work / "sweep") if record.seed != 3}
    assert {seed: record.status for seed, record in found.items()} == {1: "finished", 2: "finished"}
    assert found[2].training.learning_rate == 0.01
    assert capfd.readouterr().out.count("tuned tuned") == 1  # one table


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def other_facts(path: Path) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": "0" * 64}))


DAMAGES: list[tuple[str, Callable[[Path], Any]]] = [
    ("delta.safetensors", flip),
    ("delta.safetensors", lambda path: path.write_bytes(path.read_bytes()[:-1])),
    ("delta.safetensors", Path.unlink),
    ("delta.json", lambda path: path.write_bytes(path.read_bytes()[:-9])),
    ("delta.json", Path.unlink),
    ("delta.json", other_facts),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_finished_run_whose_delta_is_damaged_is_done_again(name, damage, work, monkeypatch, capfd):
    before = {file: (work / "out" / file).read_bytes() for file in ("delta.safetensors", "delta.json")}
    first = RunRecord.read(work / "out")
    damage(work / "out" / name)
    assert command("resume=out", work, monkeypatch) == 0
    assert f"had finished (its delta is gone or damaged) and is run again; its record is kept as result-{first.id}" in (
        capfd.readouterr().err
    )
    assert {file: (work / "out" / file).read_bytes() for file in before} == before
    assert RunRecord.read(work / "out" / f"result-{first.id}.json").started == first.started


def test_a_run_whose_folder_is_moved_ends_in_a_line_and_goes_on_there(work, monkeypatch, capfd):
    with pytest.MonkeyPatch.context() as patched:
        stop_at(1, patched, lambda: (work / "here").rename(work / "there"))
        assert command(f"{RUN} checkpoint.every_steps=1 hydra.run.dir=here", work, monkeypatch) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error")]
    assert line.startswith(f"error: {work}/here: was moved or removed while a run was at work in it; resume=")
    assert not (work / "here").exists()
    assert command("resume=there", work, monkeypatch) == 0
    record = RunRecord.read(work / "there")
    assert (record.status, record.resumed) == ("finished", 1)


def test_what_is_resumed_says_how_it_was_made_but_not_that_it_was_forced(work, monkeypatch):
    assert command("resume=stopped force=true checkpoint.every_steps=2", work, monkeypatch) == 0
    first = RunRecord.read(work / "stopped").started
    assert command("resume=stopped", work, monkeypatch) == 0
    assert RunRecord.read(work / "stopped").started == first
    told = json.dumps((work / "stopped" / ".hydra" / "overrides.yaml").read_text())
    assert "checkpoint.every_steps=2" in told
