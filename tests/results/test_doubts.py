"""What makes a score doubtful is said in the record, in the terminal and in the table."""

import logging
from pathlib import Path

import pytest
from records import finished

from peftlab.results.doubts import diverged, doubtful_data, undefined
from peftlab.results.record import Metric, RunRecord
from peftlab.results.table import sweep_in_markdown
from peftlab.run import run
from runs import composed, small, write_split

STSB = "task=stsb backbone=tiny trainer=cpu data.max_length=16 trainer.enable_progress_bar=false"


@pytest.mark.parametrize(
    ("first", "losses", "told"),
    [
        (6.9, [3.0, 1.2, 0.9], False),
        (6.9, [1.1e12, 2.3e17], True),
        (6.9, [0.9, 700.0], True),
        (6.9, [40.0, 0.9], False),  # a rate that was too high at first, and was survived
        (0.69, [69.5], False),
        (1e-4, [0.7], False),  # by chance the first example was right
        (None, [None], False),
    ],
)
def test_a_loss_that_rose_by_orders_of_magnitude_has_diverged(first, losses, told: bool):
    assert ("diverged" in diverged(first, losses)) is told


@pytest.mark.parametrize(
    ("overlap", "empty", "kinds"),
    [
        ({"validation": 0}, {"train": 0, "validation": 0}, set()),
        ({"validation": 1}, {"train": 19, "validation": 1}, set()),  # below one in a hundred
        ({"validation": 2}, {"train": 0, "validation": 0}, {"overlap"}),
        ({"validation": 0}, {"train": 20, "validation": 0}, {"empty"}),
        ({"validation": 200}, {"train": 2000, "validation": 200}, {"overlap", "empty"}),
    ],
)
def test_one_example_in_a_hundred_makes_data_doubtful(overlap, empty, kinds):
    found = doubtful_data({"train": 2000, "validation": 200}, overlap, empty)
    assert found.keys() == kinds
    assert "empty" not in kinds or "of 2000" in found["empty"]


def test_a_metric_that_is_no_number_is_named():
    assert undefined({"validation/accuracy": 0.5}) == {}
    assert undefined({"validation/spearman": float("nan"), "validation/mse": 1.0}) == {
        "undefined": "validation/spearman: undefined for these gold answers"
    }


def write_stsb(root: Path, train: list[str], validation: list[str]) -> str:
    """Write a release of STS-B and return the option that names it."""
    for name, rows in (("train.tsv", train), ("dev.tsv", validation)):
        write_split(root / "STS-B" / name, "sentence1\tsentence2\tscore", rows)
    return f"data.root={root} data.cache_dir=null"


ROWS = [f"bird {i} sang\tdog {i} slept\t{i % 5}.0" for i in range(12)]


OTHERS = [f"cat {i} ate\tit ran\t{i % 5}.5" for i in range(6)]
EMPTY, CONSTANT = ([f"\t \t{i % 5}.0" for i in range(12)], [row[:-3] + "2.5" for row in OTHERS])


@pytest.mark.parametrize(
    ("train", "validation", "rate", "kind", "told", "warning"),
    [
        (ROWS, ROWS[:6], 1e-3, "overlap", "validation: 6 of 6", "6 of the 6 examples of validation are training"),
        (EMPTY, OTHERS, 1e-3, "empty", "train: 12 of 12", "12 of the 12 examples of train hold no text"),
        (ROWS, CONSTANT, 1e-3, "undefined", "validation/spearman", "undefined for these gold answers"),
        (ROWS, OTHERS, 1e4, "diverged", "the training loss rose from", "the training loss rose from"),
    ],
)
def test_a_run_says_what_makes_its_score_doubtful(
    train, validation, rate, kind, told, warning, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    where = write_stsb(tmp_path / "glue", train, validation)
    rates = f"trainer.max_epochs=2 training.batch_size=4 training.learning_rate={rate}"
    with caplog.at_level(logging.WARNING):
        run(composed(f"+strategy=bitfit {STSB} {where} {rates}"), tmp_path)
    record = RunRecord.read(tmp_path)
    assert record.status == "finished"
    assert record.doubts.keys() == {kind}
    assert told in record.doubts[kind]
    assert warning in caplog.text
    assert record.metric is not None
    assert (record.metric.validation is None) is (kind == "undefined")


def test_an_ordinary_run_has_no_doubts(tmp_path: Path):
    record = run(small(), tmp_path)
    assert record.doubts == {}
    assert record.training is not None
    assert record.training.first_loss == pytest.approx(0.69, abs=0.2)


def test_the_table_marks_doubtful_scores_and_says_why_once():
    rose = {"diverged": "the training loss rose from 6.9 to 2.3e+17"}
    shared = {"overlap": "texts of the training set are evaluated on (validation: 48 of 48)"}
    found = [finished(0.9, doubts=rose | shared), *(finished(0.9, seed=seed, doubts=shared) for seed in (2, 3))]
    text = sweep_in_markdown(found)
    assert "90.0 ± 0.0†" in text
    assert "† diverged: the training loss rose from 6.9 to 2.3e+17: hifi with seed 1" in text
    assert "† overlap: texts of the training set are evaluated on (validation: 48 of 48): all runs" in text


def test_a_seed_without_a_number_says_that_its_metric_is_undefined():
    reason = {"undefined": "validation/spearman: undefined for these gold answers"}
    text = sweep_in_markdown([finished(), finished(seed=2, metric=Metric("spearman"), doubts=reason)])
    assert "! hifi: seed 2 finished, but validation/spearman: undefined for these gold answers" in text
