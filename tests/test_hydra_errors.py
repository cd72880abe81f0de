"""A user's mistake on the command line: one line on stderr, exit code 2, and nothing left behind."""

import os
import re
import resource
import subprocess
import sys

import pytest
from hydra.errors import ConfigCompositionException, MissingConfigException

from commands import command
from peftlab.cli import CONF
from peftlab.errors import UserError
from peftlab.hydra_errors import in_one_line
from warm_python import warm_python

MISTAKES = [
    ("task=rte", "no strategy given: add +strategy=NAME, one of "),
    ("+strategy=hfi", "did you mean hifi"),
    ("+strategy=hifi strategy.xii=0.5", "strategy.xii: no such option (did you mean strategy.xi"),
    ("+strategy=hifi trainer.max_step=2", "trainer.max_step: no such option (did you mean trainer.max_steps"),
    ("+strategy=hifi training.lr=1", "allowed are training.learning_rate, training.batch_size"),
    ("+strategy=hifi strategy.xii=0.5,0.9 -m", "strategy.xii: no such option (did you mean strategy.xi"),
    (
        "+strategy=hifi trainer.max_step=2 -m seed=1,2",
        "trainer.max_step: no such option (did you mean trainer.max_steps",
    ),
    ("+strategy=hifi,bitfit tsk=rte,mrpc -m", "tsk: no such option (did you mean task, "),
    ("+strategy=hifi tsk=rte", "tsk: no such option (did you mean task, "),
    ("+strategy=hifi task=rt", "task=rt: no such task (did you mean rte"),
    ("+strategy=hifi task=rte,rt -m", "task=rt: no such task (did you mean rte"),
    ("+strategy=hifi seed=[1", "[1"),
    ("+strategy=hifi seed", "missing EQUAL"),
    ("+strategy=hifi seed=1,2", "To sweep over it, add --multirun"),
    ("+strategy=hifi +seed=2", "An item is already at 'seed'"),
    ("+strategy=hifi --nonsense", "unrecognized arguments: --nonsense"),
    ("+strategy=hifi --config-name=nonsense", "--config-name=nonsense: no such choice"),
    ("+strategy=hifi hydra/launcher=nonsense -m", "hydra/launcher=nonsense: no such choice"),
]


def train(arguments, folder, python=warm_python, **environment):
    """Run `python train.py ARGUMENTS` as a user would, from another folder."""
    return subprocess.run(
        [*python(), str(CONF.parent / "train.py"), *arguments.split()],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_a_mistake_is_one_line_with_exit_code_2_and_leaves_no_folder(arguments, message, tmp_path):
    done = train(arguments, tmp_path)
    lines = done.stderr.splitlines()
    assert done.returncode == 2
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert done.stdout == ""
    assert os.listdir(tmp_path) == []


def test_a_developer_may_ask_for_the_trace(tmp_path):
    done = train("+strategy=hifi strategy.xii=1", tmp_path, PEFTLAB_DEBUG="1")
    assert "Traceback" in done.stderr
    assert done.returncode == 1


def test_every_group_that_can_be_chosen_is_named_when_a_group_is_misspelt():
    error = ConfigCompositionException("Could not override 'bckbone'.")
    message = in_one_line(error, ["+strategy=hifi"], CONF)
    for group in ("backbone", "shots", "strategy", "task", "trainer", "seed"):
        assert re.search(rf"allowed are .*\b{group}\b", message)


def test_the_nearest_option_is_sought_among_those_of_the_groups_that_were_chosen():
    error = ConfigCompositionException("Could not override 'strategy.teleprt'.")
    assert "strategy.teleport" in in_one_line(error, ["+strategy=hifi", "seed=1,2"], CONF)
    assert "strategy.teleport" not in in_one_line(error, ["+strategy=full"], CONF)


def test_a_missing_choice_names_the_choices_there_are():
    error = MissingConfigException("not found", "task/rt", ["rte", "mrpc"])
    assert in_one_line(error, [], CONF) == "task=rt: no such choice (did you mean rte?); there are mrpc, rte"


def test_a_message_of_many_lines_becomes_one_together_with_its_cause():
    error = ConfigCompositionException("Error\nin two lines")
    error.__cause__ = ConfigCompositionException("the cause\nand its tail")
    assert in_one_line(error, [], CONF) == "Error in two lines the cause"


def processor_seconds() -> float:
    """Return what processes that have ended took of the processor: whatever else the machine does takes no part."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_shows_the_groups_and_answers_within_a_second_and_a_half(tmp_path):
    seconds = []
    for _ in range(3):
        before = processor_seconds()
        done = train("--help", tmp_path, python=lambda: [sys.executable])
        seconds.append(processor_seconds() - before)
    assert done.returncode == 0, done.stderr
    for group in ("strategy", "task", "backbone", "shots", "trainer", "logger"):
        assert re.search(rf"^{group}: .+", done.stdout, re.MULTILINE)
    assert min(seconds) < 1.5


def test_the_command_line_imports_nothing_heavy_before_a_run_starts():
    heavy = ("torch", "transformers", "lightning", "datasets", "numpy", "matplotlib", "rich", "peft")
    code = f"import sys, peftlab.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_whole_configuration_can_be_shown_without_a_run(tmp_path):
    done = train("+strategy=hifi task=mrpc strategy.k=4 --cfg job", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "  k: 4\n" in done.stdout
    assert "  name: mrpc\n" in done.stdout
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("typed", "offered", "withheld"),
    [
        ("strategy=", "strategy=hifi", "task=rte"),
        ("+strategy=h", "+strategy=hifi", "+strategy=full"),
        ("task=r", "task=rte", "task=mrpc"),
        ("strategy=hifi strategy.te", "strategy.teleport=", "strategy.k="),
        ("+strategy=hifi -m task=m", "task=mrpc", "task=rte"),
        ("backb", "backbone=", "task="),
    ],
)
def test_shell_completion_offers_what_fits(typed, offered, withheld, tmp_path):
    line = f"python train.py {typed}"
    done = train("-sc query=bash", tmp_path, COMP_LINE=line, COMP_POINT=str(len(line)))
    assert done.returncode == 0, done.stderr
    assert offered in done.stdout.split()
    assert withheld not in done.stdout.split()


def test_shell_completion_can_be_installed(tmp_path):
    done = train("-sc install=bash", tmp_path)
    assert "complete -o nospace" in done.stdout


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (None, 0, ""),
        (UserError("strategy.k=99: allowed is 1 to 12"), 2, "error: strategy.k=99: allowed is 1 to 12\n"),
        (ValueError("a defect"), 1, "ValueError: a defect\n"),
    ],
)
def test_a_failing_run_is_told_and_gives_the_exit_code(error, code, told, tmp_path, monkeypatch, capsys):
    def run(*given):
        if error is not None:
            raise error
        return True

    monkeypatch.setattr("peftlab.run.run_unless_finished", run)
    assert command("+strategy=hifi hydra.run.dir=out", tmp_path, monkeypatch) == code
    stderr = capsys.readouterr().err
    assert stderr.endswith(told)
    assert ("Traceback" in stderr) == (code == 1)
