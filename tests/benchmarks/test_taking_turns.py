"""Turns, ratios and the page that shows them."""

import json

import pytest

from bench import report
from bench.paired import Ratio, alternate, ratio
from bench.report import Row, faster, publish, single, slower


def test_every_contender_runs_once_a_round_in_turning_order_and_warm_up_is_not_counted():
    ran = []
    contenders = {name: lambda name=name: ran.append(name) for name in "abc"}
    seconds = alternate(contenders, rounds=2, warm_up=1)
    assert ran == list("abc") + list("bca") + list("cab")
    assert {name: len(found) for name, found in seconds.items()} == {"a": 2, "b": 2, "c": 2}


def test_seconds_are_those_of_the_clock_that_is_given():
    ticks = iter([0.0, 2.0, 2.0, 5.0])
    assert alternate({"a": lambda: None, "b": lambda: None}, 1, 0, lambda: next(ticks)) == {"a": [2.0], "b": [3.0]}


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([1.0], [2.0], Ratio(0.5, 0.5, 0.5)),
        # A round that the machine spent elsewhere hits both, and its ratio stays.
        ([1.0, 10.0, 2.0], [2.0, 20.0, 2.0], Ratio(0.5, 0.5, 0.75)),
    ],
)
def test_ratios_are_taken_round_by_round(ours, theirs, expected):
    found = ratio(ours, theirs)
    assert (found.median, found.low, found.high) == pytest.approx((expected.median, expected.low, expected.high))


@pytest.mark.parametrize(
    ("row", "verdict"),
    [
        (slower("a", "b", [1.0], [2.0], 0.6), "met"),
        (slower("a", "b", [1.0], [1.0], 0.6), "**not met**"),
        (faster("a", "b", [1.0], [3.0], 2.5), "met"),
        (faster("a", "b", [1.0], [2.0], 2.5), "**not met**"),
        (single("a", "", 1.5, "s", 1.5), "met"),
        (single("a", "", 1.51, "s", 1.5), "**not met**"),
        (slower("a", "b", [9.0], [1.0]), ""),
    ],
)
def test_a_row_says_whether_its_target_is_met(row: Row, verdict: str):
    assert row.verdict == verdict


def test_the_page_shows_every_benchmark_that_was_kept_with_machine_and_versions(tmp_path, capsys):
    publish("steps", "Steps", [slower("HiFi", "LoRA", [1.0, 1.0], [2.0, 1.0], 1.0, "a note")], tmp_path)
    publish("other", "Another", [single("help", "", 2.0, "s", 1.5)], tmp_path)
    page = (tmp_path / report.PAGE).read_text()
    assert "| HiFi | LoRA | 0.75 x [0.62, 0.88] | at most 1 x | met | a note |" in page
    assert "| help |  | 2.00 s | at most 1.5 s | **not met** |  |" in page
    assert page.index("## Another") < page.index("## Steps")
    assert "torch 2" in page
    assert "threads" in page
    assert "not met" in capsys.readouterr().out
    assert json.loads((tmp_path / "benchmarks" / "steps.json").read_text())["rows"][0]["target"] == 1.0


def test_a_benchmark_that_runs_again_replaces_its_own_part_alone(tmp_path):
    for value in (2.0, 1.0):
        publish("one", "One", [single("help", "", value, "s")], tmp_path)
        publish("two", "Two", [single("other", "", 7.0, "s")], tmp_path)
    page = (tmp_path / report.PAGE).read_text()
    assert "2.00 s" not in page
    assert page.count("1.00 s") == page.count("7.00 s") == 1
