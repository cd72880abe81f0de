"""What became of each job is a file that any process can leave, and the exit code of a command is read from them."""

import pickle
from pathlib import Path

import pytest

from peftlab.cli import report
from peftlab.job import Job
from peftlab.outcome import Outcome, exit_code, outcome_of_error, take_outcomes, write_outcome
from peftlab.results.record import RunRecord


@pytest.mark.parametrize(
    ("statuses", "code"),
    [
        ([], 0),
        (["finished", "already finished", "skipped", "busy"], 0),
        (["finished", "mistake", "finished"], 2),
        (["mistake", "crashed", "mistake"], 1),
        (["finished", "started"], 1),
    ],
)
def test_the_exit_code_says_the_worst_that_became_of_a_job(statuses, code):
    assert exit_code(Outcome(Path("run"), status) for status in statuses) == code


def test_outcomes_come_back_in_the_order_of_the_jobs_and_leave_no_file(tmp_path):
    written = [Outcome(tmp_path / f"run-{number}", "crashed", f"reason {number}") for number in range(12)]
    for number in reversed(range(12)):
        write_outcome(Outcome(tmp_path / f"run-{number}", "started"), tmp_path, "token", number)
        write_outcome(written[number], tmp_path, "token", number)
    assert take_outcomes(tmp_path, "token") == written
    assert list(tmp_path.iterdir()) == []
    assert take_outcomes(tmp_path, "token") == []


def test_two_commands_in_one_sweep_s_folder_do_not_mix(tmp_path):
    write_outcome(Outcome(tmp_path, "finished"), tmp_path, "one", 0)
    write_outcome(Outcome(tmp_path, "crashed"), tmp_path, "other", 0)
    assert [outcome.status for outcome in take_outcomes(tmp_path, "one")] == ["finished"]
    assert [outcome.status for outcome in take_outcomes(tmp_path, "other")] == ["crashed"]


def test_a_reason_is_one_line_without_secrets(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef")
    outcome = outcome_of_error(Path("run"), "crashed", ValueError("a key\n0123456789abcdef"))
    assert outcome.message == "a key [hidden]"


@pytest.mark.parametrize(
    "thing", [Job(("train.py", "seed=1"), "token", Path("conf")), Outcome(Path("run"), "finished")]
)
def test_what_a_launcher_carries_can_be_pickled(thing):
    assert pickle.loads(pickle.dumps(thing)) == thing


FAILED = RunRecord(task="rte", strategy="lora", backbone="tiny", seed=1, status="failed", reason="out of memory")


@pytest.mark.parametrize(
    ("outcome", "record", "line"),
    [
        (("started", ""), None, "! run: left no word: its process was killed"),
        (("mistake", "seed=one: must be a whole number"), None, "! run: seed=one: must be a whole number"),
        (("mistake", "seed=one: must be a whole number"), FAILED, "! run: seed=one: must be a whole number"),
        (("crashed", "out of memory"), FAILED, "! lora: seed 1 failed: out of memory"),
    ],
)
def test_each_failure_of_a_sweep_is_named_once_and_what_is_missing_can_be_done(outcome, record, line, tmp_path, capsys):
    folder = tmp_path / "run"
    if record is not None:
        record.write(folder)
    report([Outcome(folder, *outcome)], tmp_path, frozenset(), 1)
    printed = capsys.readouterr().out.splitlines()
    assert printed.count(line) == 1
    assert sum(outcome[1] in text for text in printed if text.startswith("!") and outcome[1]) <= 1
    assert printed[-1] == f"what is missing: python train.py resume={tmp_path}"
