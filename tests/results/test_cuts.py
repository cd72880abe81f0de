"""A run that was cut short is said so wherever its score is, by the argument that cut it."""

import io
from typing import Any

import pytest
from records import failed, finished
from rich.console import Console

from peftlab.results.cuts import cuts_of, describe_cuts
from peftlab.results.record import CutShort, RunRecord
from peftlab.results.table import print_sweep

BY_STEPS = CutShort(["trainer.max_steps=20"], [])
BY_BOTH = CutShort(["trainer.max_steps=20", "trainer.limit_train_batches=3"], ["trainer.limit_val_batches=1"])


def printed(records: list[RunRecord]) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_sweep(records, console)
    return " ".join(console.file.getvalue().split())


def test_the_table_marks_the_row_and_names_the_argument():
    whole, short = finished(strategy="lora", cut_short=CutShort()), finished(cut_short=BY_BOTH)
    text = printed([whole, short])
    told = "training by trainer.max_steps=20, trainer.limit_train_batches=3; evaluation by trainer.limit_val_batches=1"
    assert f"‡ cut short: {told}." in text
    assert text.count("‡") == 2
    assert "‡" not in printed([whole])


def test_what_cut_several_runs_is_said_once_and_a_failed_run_says_nothing():
    assert describe_cuts([finished(cut_short=BY_STEPS), finished(cut_short=BY_BOTH)]).count("max_steps") == 1
    assert "‡" not in printed([finished(cut_short=CutShort()), failed(config={"trainer": {"max_steps": 20}})])


@pytest.mark.parametrize(
    ("options", "training", "evaluation"),
    [
        ({"max_steps": 20, "limit_val_batches": 1}, ["trainer.max_steps=20"], ["trainer.limit_val_batches=1"]),
        ({"max_steps": -1, "limit_val_batches": None, "overfit_batches": 0.0, "fast_dev_run": False}, [], []),
        ({"limit_train_batches": 1.0, "limit_val_batches": 1.0}, [], []),
        (
            {"limit_train_batches": 0.5, "limit_test_batches": 0},
            *(["trainer.limit_train_batches=0.5"], ["trainer.limit_test_batches=0"]),
        ),
        ({"fast_dev_run": True}, ["trainer.fast_dev_run=True"], ["trainer.fast_dev_run=True"]),
        ({"overfit_batches": 2}, ["trainer.overfit_batches=2"], ["trainer.overfit_batches=2"]),
        ({"max_time": "00:00:10:00"}, ["trainer.max_time=00:00:10:00"], []),
        ({}, [], []),
        (None, [], []),
    ],
)
def test_a_record_from_before_says_it_by_its_configuration(options: Any, training: list[str], evaluation: list[str]):
    assert cuts_of(finished(config={"trainer": options})) == CutShort(training, evaluation)
    assert cuts_of(finished(cut_short=BY_STEPS, config={"trainer": options})) == BY_STEPS
