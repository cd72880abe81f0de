"""`resume=FOLDER` types the folder's command again."""

import re
import shlex

import pytest
import yaml

from peftlab.errors import UserError
from peftlab.resume import hint, replayed

OVERRIDES = "hydra:\n  overrides:\n    hydra: [hydra.sweep.dir=old, hydra.mode=MULTIRUN]\n"
TASK = "    task: [+strategy=hifi, 'seed=1,2', \"shots='16'\"]\n"


def test_without_it_the_arguments_stay_as_they_are():
    assert replayed(["+strategy=hifi", "seed=1"]) == [["+strategy=hifi", "seed=1"]]


def test_a_sweep_is_typed_again_for_its_folder(tmp_path):
    (tmp_path / "multirun.yaml").write_text(OVERRIDES + TASK)
    expected = ["-m", "+strategy=hifi", "seed=1,2", "shots='16'", f"hydra.sweep.dir='{tmp_path}'"]
    assert replayed([f"resume={tmp_path}"]) == [expected]


def test_a_run_is_typed_again_for_its_folder(tmp_path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "hydra.yaml").write_text(OVERRIDES + TASK)
    assert replayed([f"resume={tmp_path}"])[0][-1] == f"hydra.run.dir='{tmp_path}'"
    assert "-m" not in replayed([f"resume={tmp_path}"])[0]


@pytest.mark.parametrize(
    "override",
    [
        "hydra.launcher._target_=os.system",
        "hydra.sweeper.sampler._target_=os.system",
        "+hydra.x=1",
        "hydra/launcher=evil",
        "--config-dir=/evil",
        "-cd=/x",
    ],
)
def test_a_folder_cannot_tell_hydra_what_to_load(override, tmp_path):
    (tmp_path / "multirun.yaml").write_text(OVERRIDES + TASK.replace("[", f"[{override}, "))
    assert replayed([f"resume={tmp_path}"])[0][:3] == ["-m", "+strategy=hifi", "seed=1,2"]


def test_what_is_typed_beside_it_goes_last(tmp_path):
    (tmp_path / "multirun.yaml").write_text(OVERRIDES + TASK)
    assert replayed(["force=true", f"resume={tmp_path}"])[0][-1] == "force=true"


def test_a_folder_of_any_name_is_quoted(tmp_path):
    folder = tmp_path / "it's a=b, c"
    folder.mkdir()
    (folder / "multirun.yaml").write_text(OVERRIDES + TASK)
    assert replayed([f"resume={folder}"])[0][-1].endswith("it\\'s a=b, c'")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "neither a sweep's folder (multirun.yaml) nor a run's (.hydra/hydra.yaml)"),
        ("", "does not say what was run (TypeError)"),
        ("hydra: {}", "does not say what was run (KeyError)"),
        ("hydra: [", "does not say what was run (ParserError)"),
    ],
)
def test_a_folder_that_no_sweep_has_left_is_told_in_one_line(content, message, tmp_path):
    if content is not None:
        (tmp_path / "multirun.yaml").write_text(content)
    with pytest.raises(UserError, match=re.escape(message)):
        replayed([f"resume={tmp_path}"])


def test_no_folder_or_two_are_told_in_one_line(tmp_path):
    with pytest.raises(UserError, match="resume=/no/where: no such folder"):
        replayed(["resume=/no/where"])
    with pytest.raises(UserError, match="given twice: a, b"):
        replayed(["resume=a", "resume=b"])


@pytest.mark.parametrize(
    "override",
    [
        *("hydra/launcher=joblib", "hydra/launcher=submitit_slurm", "hydra/sweeper=optuna"),
        *("hydra.launcher.n_jobs=4", "+hydra.launcher.cpus_per_task=2", "hydra.sweeper.n_trials=20"),
        *("hydra.sweeper.direction=maximize", "hydra.sweeper.direction=minimize", "hydra.sweeper.sampler.seed=7"),
    ],
)
def test_who_carries_the_runs_is_typed_again(override, tmp_path, capsys):
    (tmp_path / "multirun.yaml").write_text(OVERRIDES.replace("hydra: [", f"hydra: [{override}, ") + TASK)
    assert override in replayed([f"resume={tmp_path}"])[0]
    assert capsys.readouterr().err == ""


def test_what_is_left_out_is_said_unless_it_is_typed(tmp_path, capsys):
    (tmp_path / "multirun.yaml").write_text(
        OVERRIDES.replace("hydra: [", "hydra: [hydra.launcher.partition=a, ") + TASK
    )
    (command,) = replayed([f"resume={tmp_path}"])
    assert "hydra.launcher.partition=a" not in command
    assert "'hydra.launcher.partition=a' is taken from no folder; type it again" in capsys.readouterr().err
    replayed([f"resume={tmp_path}", "hydra.launcher.partition=b"])
    assert capsys.readouterr().err == ""


def test_that_a_command_was_forced_is_not_typed_again(tmp_path):
    (tmp_path / "multirun.yaml").write_text(OVERRIDES + TASK.replace("[", "[force=true, ++force=true, "))
    assert [word for word in replayed([f"resume={tmp_path}"])[0] if "force=" in word] == []


@pytest.mark.parametrize(
    "override",
    [
        "task.name=${oc.env:WANDB_API_KEY}",
        "task.name=$\\{oc.env:WANDB_API_KEY\\}",
        "'task.name=\"${oc.env:WANDB_API_KEY}\"'",
        "task.name=${oc.${data.x}:WANDB_API_KEY}",
        "task.name=$${x}{oc.env:WANDB_API_KEY}",
        "task.name=a,${oc.decode:1}",
        "task={name: ${oc.env:HOME}}",
        "++${oc.env:HOME}=1",
        "task.name=${now:${oc.env:HOME}}",
    ],
)
def test_a_folder_reads_nothing_of_this_machine(override, tmp_path):
    content = {"hydra": {"overrides": {"hydra": [], "task": ["+strategy=hifi", override]}}}
    (tmp_path / "multirun.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=r"was run with .*, which asks for what no folder may; type it again with it"):
        replayed([f"resume={tmp_path}"])


@pytest.mark.parametrize("override", ["recipe=${backbone}", "data.max_length=${x.y}", "x=${now:%H}", "x=a\\{b"])
def test_what_refers_to_other_options_is_typed_again(override, tmp_path):
    content = {"hydra": {"overrides": {"hydra": [], "task": ["+strategy=hifi", override]}}}
    (tmp_path / "multirun.yaml").write_text(yaml.safe_dump(content))
    assert override in replayed([f"resume={tmp_path}"])[0]


@pytest.mark.parametrize("name", ["a b", "it's", "a&b", "a;rm -rf x", "a#b", "$HOME", "a=b"])
def test_a_hint_can_be_pasted_into_a_shell(name, tmp_path):
    words = shlex.split(hint(tmp_path / name, ["plugins=[my_package]", "seed=1"]))
    assert words[-2:] == [f"resume={tmp_path / name}", "plugins=[my_package]"]
