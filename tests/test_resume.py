"""`resume=FOLDER` types the folder's command again."""

import re

import pytest

from peftlab.errors import UserError
from peftlab.resume import replayed

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
    ["hydra.launcher._target_=os.system", "+hydra.x=1", "hydra/launcher=evil", "--config-dir=/evil", "-cd=/x"],
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
