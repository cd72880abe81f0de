"""The table of what deployed models cost, and its Markdown."""

import io
from typing import Any

import pytest
from records import failed, finished
from rich.console import Console

from peftlab.results.grid import Grid
from peftlab.results.record import Delay, Delta, Deployment, RunRecord
from peftlab.results.table import print_sweep, summarise, sweep_in_markdown


def deployed(strategy: str, extra: int = 0, ratio: float = 1.0, changed: bool = False, **fields: Any) -> RunRecord:
    delay = Delay(
        ratio, ratio - 0.02, ratio + 0.03, pairs=200, batch_size=1, length=128, bare_seconds=0.0123, clock="wall"
    )
    return finished(strategy=strategy, deployment=Deployment(extra, changed, not changed, delay), **fields)


def printed(records: list[RunRecord]) -> str:
    console = Console(file=io.StringIO(), color_system=None)
    print_sweep(records, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def cells(text: str, strategy: str) -> list[str]:
    """The last row of `strategy`: the table of costs comes after that of scores."""
    return next(line for line in reversed(text.splitlines()) if line.strip().startswith(strategy)).split()


def test_a_row_says_what_a_task_costs():
    text = printed([deployed("adapter", 595_200, 1.234, True, delta=Delta(2_389_240, "delta.safetensors"))])
    row = ["adapter", "595,200", "yes", "1.234", "1.214–1.264", "12.3", "1", "×", "128", "2,389,240"]
    assert cells(text, "adapter") == row
    assert "rte · minilm · deployed, against the bare backbone" in text
    assert (
        "interval of 200 pairs (by their order alone, so it covers whatever their distribution), by the wall clock"
        in " ".join(text.split())
    )


def test_what_costs_least_comes_first():
    text = sweep_in_markdown([deployed("adapter", 10, 1.2, True), deployed("prompt", 5, 1.3, True), deployed("hifi")])
    costs = text.partition("deployed, against")[2]
    assert costs.index("hifi") < costs.index("prompt") < costs.index("adapter")


def test_of_several_seeds_the_middle_and_the_widest_are_shown():
    text = printed([deployed("lora", 0, ratio, seed=seed) for seed, ratio in enumerate([0.99, 1.01, 1.30])])
    assert cells(text, "lora")[1:5] == ["0", "no", "1.010", "0.970–1.330"]


def test_measuring_does_not_make_another_experiment_of_a_run():
    other = deployed("hifi", seed=2, config=finished().config | {"deployment": {"measure": True}})
    (row,) = summarise([finished(seed=1), other])
    assert (row.seeds, row.method.details) == ((1, 2), "")
    assert len(row.deployments) == 1


def test_options_tell_rows_apart_here_too():
    deep = deployed("hifi", config={"strategy": {"k": 5}})
    assert cells(printed([deployed("hifi"), deep]), "hifi")[1] in ("k=3", "k=5")


def test_without_a_measured_run_there_is_no_such_table():
    assert "deployed" not in printed([finished()])


def test_a_strategy_that_could_not_run_is_one_line_below_both_tables():
    reason = "needs the adapters library: make test-adapters installs it"
    text = printed([deployed("hifi"), failed(reason, strategy="adapterhub", seed=1)])
    assert text.rstrip().endswith(f"! adapterhub: seed 1 failed: {reason}")
    assert text.count(reason) == 1


GRID = Grid("a title", ["name", "tuned\nweights"], [["a|b*", "1,000"], ["c", "–"]], ["* starred: x|y"])


def test_a_grid_is_a_markdown_table_whose_cells_cannot_break_it():
    assert GRID.to_markdown().splitlines() == [
        "**a title**",
        "",
        "| name | tuned weights |",
        "| --- | ---: |",
        r"| a\|b\* | 1,000 |",
        "| c | – |",
        "",
        r"\* starred: x\|y",
    ]


def test_a_grid_on_a_terminal_shows_the_text_as_it_is():
    console = Console(file=io.StringIO(), color_system=None, width=40)
    GRID.print(console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "a|b*" in text
    assert "* starred: x|y" in text


@pytest.mark.parametrize("measured", [True, False])
def test_markdown_holds_what_the_terminal_shows(measured: bool):
    records = [deployed("hifi") if measured else finished(), failed("no memory", strategy="lora")]
    text = sweep_in_markdown(records)
    assert text.endswith("! lora: seed 9 failed: no memory\n")
    assert ("| hifi | 0 | no | 1.000 | 0.980–1.030 | 12.3 | 1 × 128 | 2,658,000 |" in text) == measured
    assert "| hifi | 85.0 ± n/a | 1 | 663,552 | 2.92 | 2.66 | 60 | 900 |" in text
