"""An ordinal task scored by its mean absolute error: everywhere the lower is the better, and shown as it is."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from peftlab.errors import UserError
from peftlab.report import tables, writers
from peftlab.report.comparisons import compare_all, verdict
from peftlab.report.figures import costs, curves, scores
from peftlab.report.overview import csv_rows, rows
from peftlab.report.page_files import contents
from peftlab.report.study import Study, gather
from peftlab.report.summary import sentences
from peftlab.results.record import Metric, RunRecord
from peftlab.results.table import print_sweep, sweep_in_markdown
from peftlab.search import find_best, to_recipe
from studies import run

# The errors of eight seeds; `near` is ahead of `far` with each of them.
NEAR, FAR = ([start + seed / 100 for seed in range(8)] for start in (0.30, 0.60))


def error(value: float | None, strategy: str, **fields) -> RunRecord:
    metric = Metric("mae", value, better="lower", unit="")
    curve = [{"epoch": epoch, "train/loss": 1.0, "validation/mae": 1 / epoch} for epoch in (1, 2)]
    return run(strategy=strategy, **({"task": "stars", "metric": metric, "curve": curve} | fields))


def both(**fields) -> list[RunRecord]:
    errors = {"far": FAR, "near": NEAR}
    return [error(v, name, seed=s, **fields) for name, of in errors.items() for s, v in enumerate(of)]


@pytest.fixture
def study() -> Study:
    return gather(both())


def test_the_terminal_ranks_the_lowest_first_and_shows_it_as_it_is() -> None:
    console = Console(file=io.StringIO(), color_system=None)
    print_sweep(both(), console)
    text = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert text.index("near") < text.index("far")
    assert "0.335 ± 0.024" in text
    assert "stars · minilm · full data · mae on validation (lower is better)" in text
    assert "× 100" not in text
    assert sweep_in_markdown(both()).index("| near |") < sweep_in_markdown(both()).index("| far |")


def test_the_page_ranks_the_lowest_first(study: Study) -> None:
    assert [row.method for row in rows(study)] == ["near", "far"]
    html = contents(study, compare_all(study))["index.html"]
    page = html[: html.index('<script type="application/json"')]
    compared = page.partition('<section id="comparison">')[2]
    assert compared.index('<td class="name">near') < compared.index('<td class="name">far')
    assert '0.335 <span class="quiet">± 0.024</span> ↓' in page
    assert csv_rows(rows(study))[1][6] == pytest.approx(0.335)


def test_the_lowest_is_bold_in_the_papers_tables(study: Study) -> None:
    (table,) = tables.performance(study)
    assert table.header[0] == ("stars", "mae ↓")
    assert [(name, entries[0].mark) for name, entries in table.rows] == [("near", "best"), ("far", "second")]
    assert "× 100" not in table.notes[0]
    assert table.notes[0].endswith("↓: lower is better.")
    assert "| near | **0.335** ± 0.024 |" in writers.markdown([table])
    assert r"\textbf{0.335}$_{\pm 0.024}$" in writers.latex([table])
    assert r"(mae $\downarrow$)" in writers.latex([table])


def test_the_lower_is_ahead_and_a_difference_is_a_gain(study: Study) -> None:
    (family,) = compare_all(study)
    (comparison,) = family.comparisons
    assert (comparison.first.label, comparison.second.label) == ("near", "far")
    assert (comparison.result.mean, comparison.result.wins) == (pytest.approx(0.3), 8)
    assert verdict(comparison) == "ahead"
    (against,) = compare_all(study, reference="near")[0].comparisons
    assert (against.first.label, verdict(against), against.result.losses) == ("far", "behind", 8)


def test_the_summary_tells_the_gain_without_points(study: Study) -> None:
    said = dict(sentences(study, compare_all(study)))["minilm · full data"]
    assert "near against far on stars (gain +0.300, 8 pairs" in said
    assert "points" not in said


def test_errors_that_print_alike_are_a_tie() -> None:
    study = gather([error(v, name, seed=s) for name, of in {"a": (0.3, 0.5), "b": (0.3004, 0.6)}.items()
                    for s, v in enumerate(of)])  # fmt: skip
    result = compare_all(study)[0].comparisons[0].result
    assert (result.wins, result.ties, result.losses) == (1, 1, 0)


def test_the_pareto_front_joins_the_lowest_errors_and_they_stand_above() -> None:
    points = {"cheap": (0.6, 1_000), "middle": (0.4, 5_000), "beaten": (0.7, 6_000), "dear": (0.3, 9_000)}
    (drawing,) = costs.pareto(gather([error(e, name, tuned=n) for name, (e, n) in points.items()])).drawings
    front = next(trace for trace in drawing.figure.data if trace.name == "Pareto front")
    assert (list(front.x), list(front.y)) == ([1_010, 5_010, 9_010], [0.6, 0.4, 0.3])
    assert {axis.autorange for axis in drawing.figure.select_yaxes()} == {"reversed"}
    assert drawing.figure.layout.yaxis.title.text == "mae on validation<br>(lower is better)"


def test_axes_and_what_stands_under_the_pointer_are_errors_and_not_percent(study: Study) -> None:
    (dots,) = scores.scores(study).drawings
    assert dots.figure.layout.xaxis.title.text == "mae on validation (lower is better)"
    assert list(dots.figure.layout.yaxis.categoryarray) == ["far", "near"]  # plotly counts from below
    assert all("%{x:.4f}" in trace.hovertemplate for trace in dots.figure.data)
    (lines,) = curves.learning(study).drawings
    assert lines.figure.layout.yaxis2.title.text == "mae on validation (lower is better)"
    assert [list(trace.y) for trace in lines.figure.data if trace.xaxis == "x2"][-1] == [1.0, 0.5]


def mixed() -> list[RunRecord]:
    accuracies = [run(value, name, seed=seed) for name, value in (("far", 0.5), ("near", 0.6)) for seed in range(8)]
    return both() + accuracies


def test_errors_and_shares_are_never_averaged_over_tasks() -> None:
    study = gather(mixed())
    (family,) = compare_all(study)
    assert not family.over_tasks
    assert "metrics of different directions or units are not averaged over tasks" in family.unpaired[0]
    (table,) = tables.performance(study)
    assert [(name, entries[-1].mean) for name, entries in table.rows] == [("far", None), ("near", None)]
    assert "× 100 for shares" in table.notes[0]
    assert [drawing.label.split(" · ")[0] for drawing in costs.pareto(study).drawings] == ["RTE", "stars"]


def trial(rate: float, value: float | None, **fields) -> RunRecord:
    config = {"strategy": {"name": "lora"}, "training": {"learning_rate": rate}, "data": {"holdout": 0.2}}
    made = error(value, "lora", config=config, **fields)
    if value is None:
        made.metric = None
        made.stop("failed", "loss is NaN")
    return made


def test_a_search_takes_the_rate_with_the_lowest_error() -> None:
    result = find_best([trial(1e-3, 0.5), trial(3e-3, 0.3), trial(1e-2, 0.4)])
    assert [found.rate for found in result.trials.of["lora"]] == [3e-3, 1e-2, 1e-3]
    recipe = to_recipe(result, Path("out"))
    assert "lora: {learning_rate: 0.003}   # 0.001: 0.500, 0.003: 0.300, 0.01: 0.400" in recipe
    assert "# Beside each: mean (lower is better) of every rate, and" in recipe


def test_a_failed_run_counts_as_the_worst_of_its_task() -> None:
    runs = [trial(1e-3, None, seed=1), trial(1e-3, 0.2, seed=2), trial(3e-3, 0.5, seed=1), trial(3e-3, 0.6, seed=2)]
    found = {trial.rate: (trial.mean, trial.lost) for trial in find_best(runs).trials.of["lora"]}
    assert found == {1e-3: (pytest.approx(0.4), 1), 3e-3: (pytest.approx(0.55), 0)}


def test_a_search_over_tasks_that_cannot_be_averaged_is_refused() -> None:
    other = trial(1e-3, 0.5, task="rte", metric=Metric("accuracy", 0.5))
    with pytest.raises(UserError, match=r"accuracy × 100 of rte, mae of stars \(lower is better\) have none: search"):
        find_best([trial(1e-3, 0.5), other])
