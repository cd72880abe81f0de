"""Methods compared on examples: McNemar's test, the paired bootstrap, and the examples that are disputed."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

from peftlab.files import content_sha256
from peftlab.report.comparisons import compare_all
from peftlab.report.examples import LISTED, Examples, bootstrap, mcnemar, on_examples
from peftlab.report.page_files import contents
from peftlab.report.study import Study, read
from peftlab.results.predictions import Answered, write_predictions
from peftlab.results.record import KeptPredictions, RunRecord
from studies import run

HOSTILE = "</td><script>alert(1)</script>"


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (5, 0), (8, 2), (3, 3), (4, 5), (40, 20), (300, 241)])
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    expected = scipy.stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected, rel=1e-12)
    assert mcnemar(second, first) == mcnemar(first, second)


def test_mcnemar_by_hand() -> None:
    # Of five examples the first alone is right on all: 2 / 2**5. Of ten on eight: 2 (1 + 10 + 45) / 2**10.
    assert mcnemar(5, 0) == pytest.approx(0.0625)
    assert mcnemar(8, 2) == pytest.approx(0.109375)


@pytest.mark.parametrize("values", [[100.0] * 30 + [-100.0] * 12 + [0.0] * 158, [50.0] * 40 + [0.0] * 300])
def test_the_bootstrap_is_scipys_on_the_same_gains(values: list[float]) -> None:
    gains = np.array(values)
    drawn = scipy.stats.bootstrap(
        (gains,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(1)
    )
    low, high = drawn.confidence_interval
    found = bootstrap(gains)
    assert found == pytest.approx((low, high), abs=0.08 * (high - low))
    assert found == bootstrap(gains)


def test_where_all_gains_are_the_same_the_interval_is_a_point() -> None:
    assert bootstrap(np.zeros(9)) == (0.0, 0.0)


# Studies --------------------------------------------------------------------------------------------


def kept(folder: Path, record: RunRecord, right: str, text: str = "a bird sang", gold: str = "yes") -> RunRecord:
    """Write a record with predictions: a digit for each example, 1 right, 0 wrong, - neither."""
    rows = [
        Answered("validation", place, None, f"{text} {place}", gold if mark == "1" else "no", [1.0], gold, known)
        for place, mark in enumerate(right)
        for known in [None if mark == "-" else mark == "1"]
    ]
    path = write_predictions(folder, rows)
    record.predictions = KeptPredictions(len(rows), path.stat().st_size, path.name, content_sha256(path))
    record.write(folder)
    return record


def studied(folder: Path, answers: dict[str, list[str]], **fields: str) -> Study:
    for strategy, seeds in answers.items():
        for seed, right in enumerate(seeds, start=1):
            kept(folder / f"{strategy}-{seed}", run(0.5 + 0.1 * len(strategy), strategy, seed=seed), right, **fields)
    return read([folder])


def found_in(study: Study) -> Examples:
    return on_examples(study, compare_all(study))


def test_a_pair_is_compared_seed_by_seed_and_over_the_mean_of_seeds(tmp_path: Path) -> None:
    (one,) = found_in(studied(tmp_path, {"bb": ["11110000", "11111000"], "a": ["10000000", "11100001"]})).compared
    assert (one.first.label, one.second.label) == ("bb", "a")
    assert (one.n, one.seeds) == (8, (1, 2))
    assert one.alone == ((3, 0), (2, 1))
    assert one.p == pytest.approx((0.25, 1.0))
    assert one.difference == pytest.approx(100 * (3 + 1) / 16)
    assert one.interval[0] < one.difference < one.interval[1]


@pytest.mark.parametrize(
    ("other", "gold"), [("1010", "other"), ("10101010", "yes"), ("----", "yes")], ids=["gold", "number", "scores"]
)
def test_other_examples_and_scores_are_not_compared(other: str, gold: str, tmp_path: Path) -> None:
    kept(tmp_path / "1", run(0.5, "a"), "1100")
    kept(tmp_path / "2", run(0.6, "b"), other, gold=gold)
    assert found_in(read([tmp_path])) == Examples()


def test_records_from_before_have_no_part_in_it(tmp_path: Path) -> None:
    kept(tmp_path / "1", run(0.5, "a"), "1100")
    run(0.6, "b").write(tmp_path / "2")
    study = read([tmp_path])
    assert found_in(study) == Examples()
    assert 'id="examples"' not in contents(study, compare_all(study))["index.html"]


@pytest.mark.parametrize("damage", ["changed", "gone"])
def test_a_file_that_is_not_the_records_is_told_and_not_read(damage: str, tmp_path: Path) -> None:
    study = studied(tmp_path, {"bb": ["1100"], "a": ["1010"]})
    file = tmp_path / "a-1" / "predictions.parquet"
    if damage == "changed":
        file.write_bytes(file.read_bytes() + b"x")
    else:
        file.unlink()
    found = found_in(study)
    assert found.compared == ()
    (note,) = found.notes
    assert note == f"{file}: gone, or not the file that the run's record names"
    assert str(file) in contents(study, compare_all(study))["index.html"]


def test_a_file_of_another_form_is_told(tmp_path: Path) -> None:
    study = studied(tmp_path, {"bb": ["1100"], "a": ["1010"]})
    file = tmp_path / "a-1" / "predictions.parquet"
    file.write_bytes(b"PAR1 and what is none")
    record = RunRecord.read(tmp_path / "a-1")
    assert record.predictions is not None
    record.predictions.sha256 = content_sha256(file)
    record.write(tmp_path / "a-1")
    (note,) = found_in(read([tmp_path])).notes
    assert note.startswith(f"{file}: not whole Parquet")
    assert study


def test_those_that_most_methods_differ_on_come_first(tmp_path: Path) -> None:
    study = studied(tmp_path, {"a": ["1110"], "bb": ["1100"], "ccc": ["1100"], "dddd": ["1000"]})
    (rows,) = found_in(study).disputed.values()
    assert [row.name for row in rows] == ["1", "2"]
    assert set(rows[1].right) == {"a"}
    assert dict(rows[1].wrong) == {"bb": "no", "ccc": "no", "dddd": "no"}
    assert (rows[0].text, rows[0].gold) == ("a bird sang 1", "yes")


def test_the_page_lists_few_and_escapes_all(tmp_path: Path) -> None:
    study = studied(tmp_path, {"a": ["1" * 300], "bb": ["0" * 300]}, text=HOSTILE, gold=HOSTILE)
    (rows,) = found_in(study).disputed.values()
    assert len(rows) == LISTED
    files = contents(study, compare_all(study))
    assert HOSTILE not in files["index.html"]
    assert "&lt;/td&gt;&lt;script&gt;alert(1)" in files["index.html"]
    assert len(files["index.html"]) < 8_000_000
    (row,) = csv.DictReader(io.StringIO(files["examples.csv"]))
    assert (row["examples"], row["first_alone"], row["second_alone"]) == ("300", "0", "300")
    assert float(row["p_mcnemar"]) == pytest.approx(scipy.stats.binomtest(0, 300).pvalue)
