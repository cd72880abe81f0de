"""The page on searches: their tuning curves as figures and tables."""

import pytest

from peftlab.report import tuning
from peftlab.report.comparisons import compare_all
from peftlab.report.figures import tuning as figures
from peftlab.report.study import gather
from peftlab.results.record import RunRecord
from studies import run


def trial(score: float | None, strategy: str, number: int, draw: str = "grid", **fields) -> RunRecord:
    made = run(score, strategy, holdout=0.2, **fields)
    made.config |= {"training": {"learning_rate": 10.0 ** (number - 5)}, "search": {"trial": number, "draw": draw}}
    return made


def search(**fields) -> list[RunRecord]:
    return [
        trial(start + number / 100, name, number, seed=seed, **fields)
        for name, start in (("lora", 0.5), ("<b>", 0.6))
        for number in range(5)
        for seed in (1, 2)
    ]


def test_a_search_has_a_row_a_strategy_whatever_its_rates() -> None:
    records = [*search(), trial(0.7, "short", 0), run(0.9, "lora"), run(0.8, "lora", holdout=0.2)]
    (table,) = tuning.tables(gather(records))
    assert table.title == "Tuning · minilm · full data · 20 % held out"
    assert [name for name, _ in table.header] == ["best of 1", "best of 2", "best of 3", "best of 5"]
    assert {name: entries[1].text for name, entries in table.rows} == {
        "<b>": "63.0 [60.0, 100*]",
        "lora": "53.0 [50.0, 100*]",
    }
    assert any(note.startswith("The rates are a grid and no random draws") for note in table.notes)
    assert "short has no curve: 1 of 5 rates, 1 of their runs are missing." in table.notes


@pytest.mark.parametrize(("tasks", "families"), [(["rte"], 1), (["rte", "cola"], 2)])
def test_the_rates_of_one_method_in_a_search_are_not_tested_against_one_another(tasks, families) -> None:
    found = compare_all(gather([record for task in tasks for record in search(task=task)]))
    assert len(found) == families
    assert found[0].unpaired == (
        "minilm · full data · 20 % held out: the rates of a search are not tested against one another, but chosen",
    )
    for family in found:
        pairs = [(one.first.strategy, one.second.strategy) for one in family.comparisons]
        assert set(pairs) == {("<b>", "lora")}  # of five rates each, on each task or over them
        assert len(pairs) == 25 * (1 if family.over_tasks else len(tasks))


def test_rates_that_were_swept_without_a_search_are_methods_of_their_own() -> None:
    records = search()
    for record in records:
        del record.config["search"]
    (family,) = compare_all(gather(records))
    assert (len(family.comparisons), family.unpaired) == (45, ())


def test_conditions_that_are_taken_together_stay_apart_in_a_trial() -> None:
    other = [
        trial(0.1, name, number, backbone="other", seed=seed)
        for name in ("lora", "<b>")
        for number in range(5)
        for seed in (1, 2)
    ]
    (table,) = tuning.tables(gather([*search(), *other], together=True))
    assert dict(table.rows)["lora"][0].text.startswith("31.0 ")  # the mean of 52 and 10


def test_a_seed_that_collapsed_counts_and_is_told() -> None:
    records = [*search(), trial(0.0, "lora", 4, seed=3, collapsed=True)]
    records += [trial(0.5, name, number, seed=3) for name, number in [("lora", n) for n in range(4)]]
    records += [trial(0.6, "<b>", number, seed=3) for number in range(5)]
    (table,) = tuning.tables(gather(records))
    assert "lora: in 1 of 5 trials runs collapsed or failed; they count." in table.notes
    assert dict(table.rows)["lora"][3].text.startswith("52.0 ")  # the best no longer has the fifth rate's 54


def test_the_figure_has_a_panel_a_strategy_and_triangles_where_nothing_limits_the_band() -> None:
    (drawing,) = figures.tuning(gather(search())).drawings
    assert [title.text for title in drawing.figure.layout.annotations] == ["&lt;b&gt;", "lora"]
    others, band, down, up, own = drawing.figure.data[:5]
    assert list(own.y[:5]) == pytest.approx([62, 63, 63, 64, 64])
    assert list(others.y[:5]) == pytest.approx([52, 53, 53, 54, 54])
    assert (list(down.x), list(up.x)) == ([1], [1, 2, 3, 4, 5])
    low, high = drawing.figure.layout.yaxis.range
    assert 40 < low < high < 75
    assert max(band.y) == high  # the axis is the curves', not the metric's


def test_records_that_are_no_search_say_what_is_missing() -> None:
    found = gather([run(0.5, "lora"), run(0.6, "lora", seed=2, holdout=0.2)])
    figure = figures.tuning(found)
    assert (figure.drawings, figure.unread, tuning.tables(found)) == ([], [], [])
    assert figure.missing == f"there are no {tuning.RUNS}"
