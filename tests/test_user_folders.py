"""A user's own folder of configuration: `--config-dir FOLDER task=mine`, `hydra.searchpath=[file://FOLDER]`."""

import os
from pathlib import Path

import pytest

from commands import command
from peftlab.cli import CONF
from peftlab.results.found import find_records
from peftlab.results.record import RunRecord
from peftlab.search_path import roots
from runs import SILENT, SMALL, train

TASK = "name: mine\nlabels: [entailment, not_entailment]\nmetrics: [accuracy]\ngenerator: demo\n"
STRATEGY = "defaults: [adapter]\nbottleneck: 4\n"
BACKBONE = (
    "name: mine\nattention: auto\nrandom: {model_type: bert, num_hidden_layers: 1, num_attention_heads: 2, "
    "hidden_size: 16, intermediate_size: 32, max_position_embeddings: 128}\n"
)
RUN = f"+strategy=bitfit {SMALL} {SILENT} hydra.run.dir=out"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to type in, with groups of the user's own in `mine/`."""
    for name, content in (("task/mine", TASK), ("strategy/small", STRATEGY), ("backbone/mine", BACKBONE)):
        file = tmp_path / "mine" / f"{name}.yaml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    monkeypatch.setenv("PEFTLAB_CACHE", str(tmp_path / "cache"))
    return tmp_path


WAYS = [
    "--config-dir mine",
    "--config-dir=mine",
    "-cd mine",
    "hydra.searchpath=[file://mine]",
    "hydra.searchpath=[mine]",
]


@pytest.mark.parametrize("way", WAYS)
def test_a_choice_of_the_users_runs_wherever_its_folder_is_named(way, work, monkeypatch):
    assert command(f"{way} {RUN} task=mine", work, monkeypatch) == 0
    assert RunRecord.read(work / "out").task == "mine"


@pytest.mark.parametrize(("typed", "code"), [(f"--config-dir mine {RUN} task=mine", 0), ("-cd mine task=no", 2)])
def test_a_folder_is_of_its_command_and_not_of_the_next_one_in_the_process(typed, code, work, monkeypatch):
    assert command(typed, work, monkeypatch) == code
    assert roots(CONF) == [CONF]


def test_the_flag_may_stand_anywhere_and_a_sweep_takes_the_users_choices(work, monkeypatch):
    typed = f"+strategy=bitfit,small task=mine --config-dir mine {SMALL} {SILENT} -m hydra.sweep.dir=out"
    assert command(typed, work, monkeypatch) == 0
    records = find_records(work / "out")
    assert sorted(record.strategy for record in records) == ["adapter", "bitfit"]
    assert {record.config["strategy"].get("bottleneck") for record in records} == {None, 4}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("task=mnie +strategy=bitfit", "task=mnie: no such task (did you mean mnli, mine, "),
        ("task=mine +strategy=smal", "strategy=smal: no such strategy (did you mean small, mam?); there are "),
        ("task=mine +strategy=", "small, tiny-attention"),
        (
            "task=mine +strategy=small strategy.botleneck=2",
            "strategy.botleneck: no such option (did you mean strategy.",
        ),
        ("task=../x +strategy=bitfit", "task=../x: allowed are names; --config-dir FOLDER brings a folder of yours"),
        (
            "task=mine +strategy=bitfit backbone=mine",
            "backbone=mine: there is no recipe of its name: add recipe=NAME, one of bert-base, ",
        ),
        ("task=mine +strategy=bitfit backbone=mine recipe=mine", "recipe=mine: no such recipe"),
    ],
)
def test_a_mistake_is_one_line_that_knows_the_users_names(typed, message, work, monkeypatch, capfd):
    assert command(f"--config-dir mine {typed}", work, monkeypatch) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line
    assert sorted(os.listdir(work)) == ["mine"]


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("--config-dir gone", "--config-dir=gone: no such folder"),
        ("--config-dir", "--config-dir=: no such folder"),
        ("hydra.searchpath=[file://gone]", "hydra.searchpath=gone: no such folder"),
        ("hydra.searchpath=[http://x]", "hydra.searchpath=http://x: allowed are file://FOLDER and pkg://PACKAGE"),
        ("hydra.searchpath=mine", "hydra.searchpath=mine: allowed is a list"),
    ],
)
def test_a_folder_that_is_not_there_is_one_line(way, message, work, monkeypatch, capfd):
    assert command(f"+strategy=bitfit task=mine {way}", work, monkeypatch) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line


def test_a_name_that_the_laboratory_has_too_is_refused(work, monkeypatch, capfd):
    (work / "mine" / "task" / "rte.yaml").write_text(TASK)
    assert command("--config-dir mine +strategy=bitfit task=rte", work, monkeypatch) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "task=rte: is there twice, " in line
    assert str(work / "mine/task/rte.yaml") in line


@pytest.mark.parametrize("file", [False, True])
def test_a_backbone_of_the_users_takes_a_recipe_by_name_or_brings_its_own(file, work, monkeypatch):
    if file:
        (work / "mine" / "recipe").mkdir()
        (work / "mine" / "recipe" / "mine.yaml").write_text("defaults: [tiny]\n")
    recipe = "" if file else "recipe=tiny"
    typed = f"--config-dir mine {RUN.replace('backbone=tiny', 'backbone=mine')} task=mine {recipe}"
    assert command(typed, work, monkeypatch) == 0
    assert RunRecord.read(work / "out").backbone == "mine"


@pytest.mark.parametrize("way", WAYS)
def test_help_lists_what_is_the_users(way, work):
    done = train(f"{way} --help", work)
    assert done.returncode == 0, done.stderr
    assert ", mine, mnli, " in done.stdout
    assert ", prompt, s2ft, small, tiny-attention" in done.stdout


@pytest.mark.parametrize("way", ["--config-dir mine", "hydra.searchpath=[file://mine]"])
def test_shell_completion_offers_what_is_the_users(way, work):
    line = f"python train.py {way} task=mi"
    done = train("-sc query=bash", work, COMP_LINE=line, COMP_POINT=str(len(line)))
    assert done.stdout.split() == ["task=mine"], done.stderr


@pytest.mark.parametrize("way", ["--config-dir mine", "hydra.searchpath=[file://mine]"])
@pytest.mark.parametrize("sweep", ["", "-m seed=1,2"])
def test_what_was_run_with_it_is_resumed_by_its_folder_alone(sweep, way, work, monkeypatch, capfd):
    typed = f"{RUN.replace('hydra.run.dir', 'hydra.sweep.dir' if sweep else 'hydra.run.dir')} task=mine {way} {sweep}"
    assert command(typed, work, monkeypatch) == 0
    (work / "elsewhere").mkdir()
    for _ in range(2):  # and once more: what was resumed is told by its folder as well
        capfd.readouterr()
        assert command("resume=../out", work / "elsewhere", monkeypatch) == 0
        assert "had finished before and were not repeated" in capfd.readouterr().out


def test_a_folder_that_is_gone_is_named_again(work, monkeypatch, capfd):
    assert command(f"{RUN} task=mine --config-dir mine", work, monkeypatch) == 0
    (work / "mine").rename(work / "moved")
    capfd.readouterr()
    assert command("resume=out", work, monkeypatch) == 2
    assert f"hydra.searchpath={work / 'mine'}: no such folder" in capfd.readouterr().err
    assert command("resume=out --config-dir moved", work, monkeypatch) == 0
