"""Each run keeps what it answered: its scores, computed again from that file by others' code, are those recorded."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import scipy.stats
import seqeval.metrics
import sklearn.metrics
import torchmetrics.functional.text
from seqeval.scheme import IOB2

from peftlab.files import content_sha256
from peftlab.results.predictions import LONGEST_TEXT, Answered, read_predictions
from peftlab.results.record import RunRecord
from peftlab.run import run
from runs import refused, small, write_rte
from training.test_resumption_of_kinds import written

Rows = list[Answered]
WHOLE = "trainer.limit_val_batches=1.0 trainer.max_steps=6 data.max_length=48 data.cache_dir=null"


def accuracy(rows: Rows) -> float:
    return float(sklearn.metrics.accuracy_score([row.gold for row in rows], [row.answer for row in rows]))


def spearman(rows: Rows) -> float:
    found, gold = [row.scores[0] for row in rows], [json.loads(row.gold) for row in rows]
    return 0.0 if len(set(found)) == 1 else float(scipy.stats.spearmanr(found, gold).statistic)


def squad(rows: Rows) -> float:
    found = [{"id": str(row.index), "prediction_text": row.answer} for row in rows]
    gold = [
        {
            "id": str(row.index),
            "answers": {"text": json.loads(row.gold), "answer_start": [0] * len(json.loads(row.gold))},
        }
        for row in rows
    ]
    return float(torchmetrics.functional.text.squad(found, gold)["f1"]) / 100


def entities(rows: Rows) -> float:
    found, gold = [row.answer.split() for row in rows], [row.gold.split() for row in rows]
    return float(seqeval.metrics.f1_score(gold, found, mode="strict", scheme=IOB2, zero_division=0))


def f1_of_answers(rows: Rows) -> float:
    pairs = [
        (gold, int(str(place) in row.answer.split())) for row in rows for place, gold in enumerate(json.loads(row.gold))
    ]
    return float(sklearn.metrics.f1_score(*zip(*pairs, strict=True), zero_division=0))


OTHERS: dict[str, Callable[[Rows], float]] = {
    "rte": accuracy,
    "stsb": spearman,
    "copa": accuracy,
    "squad": squad,
    "wnut17": entities,
    "multirc": f1_of_answers,
    "record": squad,
}


def done(task: str, folder: Path, more: str = "") -> RunRecord:
    root = write_rte(folder / "data") if task == "rte" else written(task, folder / "data")
    return run(small(f"task={task} data.root={root} {WHOLE} {more}", "bitfit"), folder / "run")


@pytest.fixture(scope="module", params=list(OTHERS))
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, RunRecord, Rows]:
    record = done(request.param, tmp_path_factory.mktemp(request.param))
    assert record.folder is not None
    return request.param, record, read_predictions(record.folder / "predictions.parquet")


def test_the_score_is_that_of_others_code_on_the_file(kept: tuple[str, RunRecord, Rows]) -> None:
    task, record, rows = kept
    assert record.metric is not None
    assert record.metric.validation == pytest.approx(OTHERS[task](rows), abs=1e-6)


def test_each_example_stands_there_once_in_its_order(kept: tuple[str, RunRecord, Rows]) -> None:
    task, _, rows = kept
    assert [(row.split, row.index) for row in rows] == [("validation", place) for place in range(12)]
    assert all(0 < len(row.text) <= LONGEST_TEXT for row in rows)
    assert all(math.isfinite(score) for row in rows for score in row.scores)
    assert all((row.right is None) == (task == "stsb") for row in rows)


def test_the_record_names_the_file_and_its_content(kept: tuple[str, RunRecord, Rows]) -> None:
    _, record, rows = kept
    assert record.folder is not None
    assert record.predictions is not None
    file = record.folder / record.predictions.file
    assert record.predictions.rows == len(rows)
    assert (record.predictions.bytes, record.predictions.sha256) == (file.stat().st_size, content_sha256(file))
    assert RunRecord.read(record.folder) == record


def test_right_ones_are_those_of_the_exact_metric(kept: tuple[str, RunRecord, Rows]) -> None:
    task, record, rows = kept
    exact = "exact_match" if task in ("squad", "multirc", "record") else "accuracy"
    if task in ("stsb", "wnut17"):
        return
    assert record.metric is not None
    known = {record.metric.name: record.metric.validation} | {
        name.removeprefix("validation/"): value for name, value in record.metric.further.items()
    }
    assert known[exact] == pytest.approx(sum(bool(row.right) for row in rows) / len(rows))


def test_nothing_is_kept_where_that_is_asked_for_and_the_run_is_the_same(tmp_path: Path) -> None:
    with_file, without = done("rte", tmp_path / "a"), done("rte", tmp_path / "b", "data.keep_predictions=false")
    assert without.folder is not None
    assert without.predictions is None
    assert not (without.folder / "predictions.parquet").exists()
    assert (with_file.id, with_file.metric) == (without.id, without.metric)


def test_few_shots_keep_the_rows_of_their_test_set(tmp_path: Path) -> None:
    record = done("rte", tmp_path, "shots=16 shots.per_class=4")
    assert record.folder is not None
    rows = read_predictions(record.folder / "predictions.parquet")
    assert {split: sum(row.split == split for row in rows) for split in ("validation", "test")} == {
        "validation": 8,
        "test": 12,
    }
    tests = [row.text for row in rows if row.split == "test"]
    assert tests == [f"bird {place} sang | dog {place} sang" for place in range(12)]


def test_a_users_own_file_of_that_name_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "predictions.parquet").write_text("mine")
    assert "predictions.parquet" in refused(small("", "bitfit"), tmp_path)
    assert (tmp_path / "predictions.parquet").read_text() == "mine"
