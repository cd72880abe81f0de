"""The comparison table's rows and the CSV files: every number from hand-made records."""

import csv
import io

import pytest

from peftlab.report.comparisons import compare_all
from peftlab.report.overview import csv_rows, rows
from peftlab.report.page_files import contents
from peftlab.report.study import Study, gather
from peftlab.results.record import CutShort, Memory, Parameters
from studies import broken, run, runs, study


def files_of(found: Study, reference: str | None = None) -> dict[str, str]:
    return contents(found, compare_all(found, reference), reference)


def table_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_row_holds_the_means_of_what_its_runs_took() -> None:
    records = [
        run(0.5, parameters=Parameters(total=1_000, tuned=10, classifier=2), memory=Memory(900, "rss")),
        run(0.7, seed=2, parameters=Parameters(total=1_000, tuned=30, classifier=2), memory=Memory(700, "rss")),
    ]
    (row,) = rows(gather(records))
    assert (row.task, row.block, row.method, row.metric, row.split) == (
        "RTE", "minilm · full data", "lora", "accuracy", "validation",
    )  # fmt: skip
    assert (row.mean, row.std) == pytest.approx((60.0, 14.142), abs=1e-3)
    assert (row.low, row.high) == pytest.approx((60 - 127.06, 60 + 127.06), abs=0.01)  # t(1) = 12.706 times 10
    assert (row.tuned, row.share, row.memory) == (20, pytest.approx(2.0), 900)


def test_a_row_without_a_score_or_a_second_seed_holds_no_invented_number() -> None:
    found = {row.method: row for row in rows(gather([run(0.5), broken("full")]))}
    assert (found["lora"].std, found["lora"].low, found["lora"].high) == (None, None, None)
    full = found["full"]
    assert (full.mean, full.tuned, full.delta_bytes, full.seconds, full.memory) == (None,) * 5


def test_flags_say_in_words_what_happened_to_which_seed() -> None:
    records = [run(0.5), run(0.5, seed=2, collapsed=True), broken(seed=3), broken(seed=4)]
    (row,) = rows(gather(records))
    assert row.flags == "collapsed: seed 2; 2 of 4 without a score"
    assert rows(study({"a": [0.5]}))[0].flags == ""


def test_the_csv_has_a_column_a_field_and_joins_lists() -> None:
    header, row = csv_rows(rows(study({"a": [0.5, 0.75]})))
    values = dict(zip(header, row, strict=True))
    assert (values["seeds"], values["scores"], values["collapsed"]) == ("1 2", "50.0 75.0", "")


def test_tests_csv_holds_every_comparison_with_its_family() -> None:
    records = runs({"a": [0.5, 0.6, 0.55], "b": [0.6, 0.75, 0.7]})
    records += runs({"a": [0.5, 0.6, 0.55], "b": [0.6, 0.75, 0.7]}, task="cola")
    lines = table_of(files_of(gather(records))["tests.csv"])
    assert [(line["family"], line["tasks"]) for line in lines] == [
        ("each task", "cola"), ("each task", "rte"), ("over tasks", "cola rte"),
    ]  # fmt: skip
    over = lines[-1]
    assert (over["first"], over["second"], over["n"], over["wins"]) == ("b", "a", "6", "6")
    assert float(over["mean"]) == pytest.approx((10 + 15 + 15) / 3)
    assert float(over["p"]) == float(over["floor"]) == 2 / 2**6
    assert over["shows"] == "ahead"


def test_runs_csv_holds_every_run_with_its_command() -> None:
    lines = table_of(files_of(gather([run(0.5), broken(seed=2, reason="out of memory")]))["runs.csv"])
    assert [(line["seed"], line["status"], line["reason"]) for line in lines] == [
        ("1", "finished", ""), ("2", "failed", "out of memory"),
    ]  # fmt: skip
    assert {line["command"] for line in lines} == {"python train.py +strategy=hifi task=rte"}


def test_comparison_csv_is_the_table_of_the_page() -> None:
    found = study({"a": [0.5, 0.6], "b": [0.7]})
    files = files_of(found)
    lines = table_of(files["comparison.csv"])
    assert [(line["method"], float(line["mean"])) for line in lines] == [("b", 70.0), ("a", pytest.approx(55.0))]
    assert files["index.html"].count('<tr data-task="RTE"') == 2


def test_the_page_names_the_reference_and_what_could_not_be_paired() -> None:
    records = [run(0.5, "a"), run(0.6, "b"), run(0.5, "a", seed=2), run(0.6, "b", seed=2, content="other")]
    html = files_of(gather(records), reference="b")["index.html"]
    assert "Only comparisons with <b>b</b> were asked for." in html
    assert "a and b saw different data with seed 2: not paired" in html


def test_the_page_warns_above_a_family_in_which_nothing_can_stand() -> None:
    html = files_of(study({"a": [0.5, 0.6, 0.7], "b": [0.8, 0.9, 0.95]}))["index.html"]
    assert "No difference here can stand: the most pairs are 3, and 1 test needs 6." in html


def test_the_note_says_what_cut_runs_short_what_is_doubtful_and_which_code_no_commit_holds() -> None:
    records = [
        run(0.5, cut_short=CutShort(["trainer.max_steps=5"], [])),
        run(0.6, seed=2, dirty=True, doubts={"overlap": "texts of the training set are evaluated on"}),
    ]
    (row,) = rows(gather(records))
    assert row.marks == (
        "cut short: training by trainer.max_steps=5",
        "overlap: seed 2: texts of the training set are evaluated on",
        "uncommitted changes: seed 2",
    )
    assert all(mark in row.flags for mark in row.marks)


def test_further_metrics_of_the_split_stand_beside_the_score() -> None:
    further = [
        {"validation/accuracy": a, "validation/mse": m, "test/accuracy": 0.1} for a, m in ((0.7, 2.5), (0.8, 3.5))
    ]
    records = [run(0.8, seed=seed, task="mrpc", further=of) for seed, of in enumerate(further)]
    assert rows(gather(records))[0].further == ("Acc. 75.0 ± 7.1", "MSE 3.000 ± 0.707")
