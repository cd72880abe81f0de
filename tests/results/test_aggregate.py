"""The one aggregation over seeds: groups, what names them, and its cost."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from records import failed, finished

from peftlab.results.aggregate import Block, Cell, Setting, aggregate
from peftlab.results.record import RunRecord


def setting_of(record: RunRecord) -> Setting:
    return Setting(record.task, Block(record.backbone, record.shots))


def with_k(k: int, **fields: Any) -> RunRecord:
    return finished(config={"strategy": {"name": "hifi", "k": k}}, **fields)


def labels(cells: list[Cell]) -> set[tuple[str, str]]:
    return {(cell.setting.task, cell.method.label) for cell in cells}


def test_runs_that_differ_in_the_seed_become_one_cell():
    (cell,) = aggregate([finished(0.8, seed=2), finished(0.7, seed=1)], setting_of)
    assert cell.scores == pytest.approx({1: 70.0, 2: 80.0})
    assert (cell.seeds, cell.mean, cell.std) == ((1, 2), pytest.approx(75.0), pytest.approx(7.0710678))


def test_an_option_names_methods_in_all_settings_that_are_named_together():
    records = [with_k(1), with_k(2), with_k(2, task="cola")]
    assert labels(aggregate(records, setting_of)) == {("rte", "hifi k=1"), ("rte", "hifi k=2"), ("cola", "hifi")}
    together = aggregate(records, setting_of, named_together=lambda setting: setting.block)
    assert labels(together) == {("rte", "hifi k=1"), ("rte", "hifi k=2"), ("cola", "hifi k=2")}


def test_an_option_that_some_runs_do_not_have_names_those_that_have_it():
    records = [with_k(1, seed=1), finished(seed=2, config={"strategy": {"name": "hifi"}})]
    assert labels(aggregate(records, setting_of)) == {("rte", "hifi k=1"), ("rte", "hifi")}


def test_a_repeated_seed_counts_once_and_is_counted():
    records = [finished(0.7, started="2024-01-01"), finished(0.8, started="2024-01-02"), failed(seed=1)]
    (cell,) = aggregate(records, setting_of)
    assert (cell.scores, cell.repeated) == ({1: 80.0}, 2)


def test_a_skipped_run_is_neither_missing_nor_expected():
    skipped = failed("no place in this backbone", seed=2)
    skipped.status = "skipped"
    (cell,) = aggregate([finished(seed=1), skipped, failed("no memory", seed=3)], setting_of)
    assert cell.skipped == {2: "skipped: no place in this backbone"}
    assert cell.missing == [(3, "failed: no memory")]
    assert cell.expected == 2


def steps_of(work: Callable[[], object]) -> int:
    """How many lines of Python a piece of work runs: the same on every machine."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("vary", ["seed", "option"])
def test_the_time_grows_linearly_with_the_records(vary: str):
    def work(number: int) -> int:
        records = [with_k(n if vary == "option" else 1, seed=n if vary == "seed" else 1) for n in range(number)]
        return steps_of(lambda: [cell.mean for cell in aggregate(records, setting_of)])

    assert work(400) < 4.4 * work(100)
