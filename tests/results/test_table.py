"""The sweep's table: grouping over seeds, the statistics, and a print that nobody has to guess at."""

import io
import math
import re
from typing import Any

import numpy as np
import pytest
from records import failed, finished
from rich.console import Console

from peftlab.results.aggregate import Cell
from peftlab.results.record import Memory, Metric, Parameters, RunRecord
from peftlab.results.table import NARROWEST, WIDTH, print_sweep, summarise


def with_settings(record: RunRecord, **settings: Any) -> RunRecord:
    """The record with dotted settings of its configuration replaced: ``strategy__k=5``."""
    for key, value in settings.items():
        group, _, name = key.partition("__")
        record.config[group] = {**record.config.get(group, {}), name: value} if name else value
    return record


def only(records: list[RunRecord]) -> Cell:
    (row,) = summarise(records)
    return row


def printed(records: list[RunRecord], width: int = 80, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    print_sweep(records, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


SCORES = [0.853, 0.841, 0.867]


def test_seeds_of_one_experiment_become_one_row_with_sample_statistics():
    row = only([finished(score, seed=seed) for seed, score in enumerate(SCORES)])
    assert row.mean == pytest.approx(100 * np.mean(SCORES))
    assert row.std == pytest.approx(100 * np.std(SCORES, ddof=1))
    assert row.seeds == (0, 1, 2)
    assert row.method.details == ""
    assert row.share == pytest.approx(100 * 663_552 / 22_713_986)


def test_one_seed_has_no_standard_deviation():
    row = only([finished(0.853)])
    assert row.std is None
    assert "85.3 ± n/a" in printed([finished(0.853)])


@pytest.mark.parametrize(
    "incidental",
    [
        {"data__root": "/elsewhere"},
        {"data__cache_dir": "/tmp"},
        {"data__num_workers": 2},
        {"logger": {"name": "wandb"}},
        {"paths": {"output": "b"}},
        {"hydra": {"job": 1}},
        {"trainer__enable_progress_bar": False},
        {"trainer__enable_model_summary": False},
        {"trainer__log_every_n_steps": 3},
        {"trainer__profiler": "simple"},
        {"backbone__path": "/elsewhere"},
        {"deployment": {"measure": True}},
        {"checkpoint": {"trajectory": 3}},
    ],
)
def test_where_files_lie_and_what_is_shown_or_logged_does_not_split_a_row(incidental: dict[str, Any]):
    row = only([finished(0.8, seed=1), with_settings(finished(0.9, seed=2), **incidental)])
    assert row.seeds == (1, 2)
    assert row.method.details == ""


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"strategy__k": 5}, {"k=3", "k=5"}),
        ({"strategy__teleport": "richness"}, {"", "teleport=richness"}),
        ({"strategy__bias": True}, {"", "bias=true"}),
        ({"strategy__k": 5, "trainer__max_epochs": 9}, {"k=3 max_epochs=3", "k=5 max_epochs=9"}),
        ({"trainer__k": 1}, {"", "k=1"}),
        ({"trainer__name": "a", "strategy__name": "b"}, {"strategy.name=hifi", "strategy.name=b trainer.name=a"}),
    ],
)
def test_what_varies_splits_rows_and_is_shown(settings: dict[str, Any], options: set[str]):
    rows = summarise([finished(0.8), with_settings(finished(0.9), **settings)])
    assert {row.method.details for row in rows} == options


@pytest.mark.parametrize(
    ("swept", "options"),
    [((), ""), (("strategy.k", "seed"), "k=3"), (("strategy.no_such",), "")],
)
def test_what_a_sweep_varies_names_a_run_that_is_the_only_one_so_far(swept: tuple[str, ...], options: str):
    (row,) = summarise([with_settings(finished(0.8), strategy__k=3)], swept)
    assert row.method.details == options


@pytest.mark.parametrize(("value", "options"), [(0, {""}), (20, {"score_after_steps=0", "score_after_steps=20"})])
def test_a_record_from_before_an_option_did_what_its_default_does(value: int, options: set[str]):
    rows = summarise([finished(0.8, seed=1), with_settings(finished(0.9, seed=2), strategy__score_after_steps=value)])
    assert {row.method.details for row in rows} == options


@pytest.mark.parametrize("change", [{"task": "mrpc"}, {"backbone": "tiny"}, {"strategy": "lora"}, {"shots": 16}])
def test_task_backbone_strategy_and_shots_split_rows_without_options(change: dict[str, Any]):
    rows = summarise([finished(0.8), finished(0.9, **change)])
    assert [row.method.details for row in rows] == ["", ""]


def test_one_strategys_own_settings_are_no_options_beside_another():
    lora = with_settings(finished(strategy="lora"), strategy__r=8, strategy__k=None)
    assert {row.method.details for row in summarise([finished(), lora])} == {""}


def test_few_shot_runs_are_judged_on_test_which_their_validation_never_stands_in_for():
    seen = [finished(0.95, test=0.60, seed=1, shots=16), finished(0.97, test=0.70, seed=2, shots=16)]
    assert only(seen).mean == pytest.approx(65.0)
    assert only(seen).split == "test"
    row = only([*seen, finished(0.99, test=None, seed=3, shots=16)])
    assert row.seeds == (1, 2)
    assert row.missing == [(3, "finished, but its accuracy is not a number")]


def test_a_strategy_without_test_scores_is_not_ranked_by_validation_beside_others_test():
    rows = summarise([finished(0.95, test=0.60, shots=16), finished(0.99, strategy="lora", shots=16)])
    assert [(row.method.strategy, row.split, row.mean) for row in rows] == [
        ("hifi", "test", 60.0),
        ("lora", "test", None),
    ]


def test_a_repeated_run_counts_once_the_latest_that_finished():
    first = finished(0.7, started="2024-01-01T00:00:00+00:00")
    again = finished(0.8, started="2024-01-02T00:00:00+00:00")
    crashed = failed("killed", seed=1, started="2024-01-03T00:00:00+00:00")
    row = only([again, crashed, first])
    assert (row.mean, row.std, len(row.runs), row.repeated) == (pytest.approx(80.0), None, 1, 2)
    assert row.missing == []


def test_costs_are_means_over_finished_runs_and_memory_the_largest():
    small = finished(seed=1, parameters=Parameters(1000, 10, 2), memory=Memory(5, "rss"))
    large = finished(seed=2, parameters=Parameters(1000, 30, 2), memory=Memory(7, "rss"))
    row = only([small, large, failed(seed=3)])
    assert (row.tuned, row.share, row.peak_bytes) == (20, pytest.approx(2.0), 7)


def test_the_best_row_of_a_setting_comes_first_and_failures_last():
    records = [finished(-0.1, strategy="lora"), failed(strategy="full"), finished(0.9, strategy="bitfit")]
    assert [row.method.strategy for row in summarise(records)] == ["bitfit", "lora", "full"]


def test_failed_and_unfinished_runs_are_counted_and_named_with_their_reasons():
    running = finished(seed=4)
    running.status = "running"
    text = printed([finished(seed=1), failed("loss is [red]NaN[/red]", seed=2), running])
    assert "1 of 3" in text
    assert "! hifi: seed 2 failed: loss is [red]NaN[/red]" in text
    assert "! hifi: seed 4 has not finished" in text


def test_a_sweep_in_which_everything_failed_is_still_a_table():
    text = printed([failed("no memory", seed=1), failed("no memory", seed=2)])
    assert "0 of 2" in text
    assert text.count("no memory") == 2


def test_collapsed_runs_are_starred_and_explained():
    both = [finished(seed=1, collapsed=True), finished(seed=2, collapsed=True)]
    text = printed([*both, finished(0.8, strategy="lora", seed=3, collapsed=True), finished(0.7, strategy="full")])
    assert "85.0 ± 0.0*" in text
    assert "80.0 ± n/a*" in text
    assert "70.0 ± n/a*" not in text
    line = "* collapsed (one answer to everything, or a Matthews of 0): hifi with seed 1, 2; lora with seed 3"
    assert line in " ".join(text.split())


def test_the_print_says_what_was_measured_where():
    text = printed([finished(seed=s, score=x) for s, x in enumerate(SCORES)])
    for words in ("rte · minilm · full data", "accuracy × 100 on validation", "85.4 ± 1.3", "663,552", "2.92"):
        assert words in text
    assert "16 examples a class" in printed([finished(test=0.6, shots=16)])


def test_the_score_of_one_answer_to_everything_and_balanced_accuracy_stand_beside_the_papers_metric():
    measured = [
        finished(
            seed=seed, shots=16, metric=Metric("f1", 0.9, score, {"test/balanced_accuracy": balanced}, constant=0.812)
        )
        for seed, (score, balanced) in enumerate([(0.80, 0.52), (0.82, 0.54)])
    ]
    told = printed(measured)
    assert re.search(r"^ hifi +81\.0 ± 1\.4 +53\.0 +2 ", told, re.MULTILINE)
    assert re.search(r"^ one answer +81\.2 *$", told, re.MULTILINE)
    older = printed([finished(0.8, test=0.8)])
    assert "one answer" not in older
    assert "bal." not in older


def test_each_setting_has_a_table_of_its_own():
    text = printed([finished(), finished(task="mrpc", metric=Metric("f1", 0.8))])
    assert text.index("mrpc · minilm") < text.index("f1 × 100") < text.index("rte · minilm")


@pytest.mark.parametrize(
    ("width", "terminal", "limit"), [(20, False, WIDTH), (300, False, WIDTH), (80, True, 80), (20, True, NARROWEST)]
)
def test_nothing_is_cut_off_however_long_or_narrow(width: int, terminal: bool, limit: int):
    reason = "a reason that goes on " * 20
    long = with_settings(finished(), strategy__selection="outputs/" + "x" * 90 + "/end")
    text = printed([finished(), long, failed(reason, seed=2)], width, terminal)
    assert max(map(len, text.splitlines())) <= limit
    assert "…" not in text
    assert text.count("x") >= 90
    assert text.count("goes") == 20


def test_a_score_of_none_in_a_finished_run_is_no_zero():
    row = only([finished(math.nan, metric=Metric("accuracy", None))])
    assert row.mean is None
    assert row.seeds == ()


def test_numbers_of_code_that_no_commit_holds_are_marked() -> None:
    runs = [finished(0.8, seed=1), finished(0.9, seed=2)]
    assert "no commit" not in printed(runs)
    runs[1].dirty = True
    assert "Code with changes that no commit holds: 1 of 2 runs." in printed(runs)
