"""What the figures are drawn from: fronts, curves and matrices."""

import numpy as np
import plotly.graph_objects as go
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from peftlab.report.comparisons import compare_all
from peftlab.report.figures import base, costs, curves, scores
from peftlab.report.figures.hifi import heads, iterations
from peftlab.report.study import gather
from studies import broken, run, runs, study


def test_the_front_is_what_nothing_beats_in_both() -> None:
    points = [(10.0, 80.0), (5.0, 70.0), (7.0, 69.0), (20.0, 80.0), (5.0, 60.0), (30.0, 81.0)]
    assert costs.front(points) == [(5.0, 70.0), (10.0, 80.0), (30.0, 81.0)]


def test_costs_are_means_over_runs_and_the_average_wants_every_task() -> None:
    records = [run(0.8, "a", seed=s, tuned=1_000 * s) for s in (1, 3)] + runs({"a": [0.6], "b": [0.9]}, task="cola")
    found = gather(records)
    (point,) = costs.points_of(found, found.blocks[0])
    assert (point.method.label, point.score) == ("a", pytest.approx(70))
    assert point.costs[:2] == pytest.approx([(1_000 + 3_000 + 1_000) / 3 + 10, 4 * 5_000 / 3 / 1e6])


def test_every_seed_is_a_point_and_collapsed_ones_are_crosses() -> None:
    records = [*runs({"a": [0.5, 0.6]}), run(0.4, "a", seed=3, collapsed=True), broken("a", seed=4)]
    (variant,) = scores.scores(gather(records)).drawings
    fine, collapsed, means = variant.figure.data
    assert (list(fine.customdata), list(fine.x)) == ([1, 2], pytest.approx([50, 60]))
    assert (list(collapsed.customdata), collapsed.marker.symbol) == ([3], "x")
    assert list(means.x) == pytest.approx([50])


def test_the_matrix_counts_each_pair_of_runs_from_both_sides() -> None:
    (figure,) = scores.duels(found := study({"a": [0.5, 0.6, 0.7], "b": [0.4, 0.6, 0.8]}), compare_all(found)).drawings
    heatmap = figure.figure.data[0]
    assert [list(row) for row in heatmap.text] == [["", "1/1/1"], ["1/1/1", ""]]
    assert heatmap.z[0][1] == 0.5


def test_names_reach_plotly_as_text_and_not_as_markup() -> None:
    assert base.text("<b>&") == "&lt;b&gt;&amp;"
    (variant,) = scores.scores(study({"<img src=x>": [0.5]})).drawings
    assert "<img" not in variant.figure.to_json()


def test_more_methods_than_colours_still_look_different() -> None:
    found = study({f"m{number:02}": [0.5] for number in range(20)})
    looks = [tuple(base.look(found, method).values()) for method in found.methods]
    assert len(set(looks)) == 20


def test_swept_numbers_make_a_curve_for_each_choice_of_the_others() -> None:
    records = [
        run(0.5 + k / 100, options={"k": k, "d": d}, seed=s, selection={"iterations": [k, k + 2]})
        for k in (1, 2, 3)
        for d in (0.5, 0.85)
        for s in (1, 2)
    ]
    found = gather(records)
    swept = curves.swept_options(found, found.settings[0])
    assert {(key, rest): [number for number, _ in cells] for (_, key, rest), cells in swept.items()} == {
        ("strategy.k", ("d=0.5",)): [1, 2, 3],
        ("strategy.k", ("d=0.85",)): [1, 2, 3],
        **{("strategy.d", (f"k={k}",)): [0.5, 0.85] for k in (1, 2, 3)},
    }
    drawing = next(v for v in curves.options(found).drawings if "d=0.5" in v.label)
    assert list(drawing.figure.data[2].y) == pytest.approx([51, 51, 52, 52, 53, 53])
    ranking = next(v for v in iterations.iterations(found).drawings if "d=0.5" in v.label)
    assert ranking.label == drawing.label
    assert list(ranking.figure.data[1].y) == pytest.approx([2, 3, 4])


def test_two_options_swept_at_once_make_a_map_of_mean_scores() -> None:
    tried = [(k, r, s) for k in (1, 2, 10) for r in (1e-4, 1e-3) for s in (1, 2) if (k, r) != (10, 1e-4)]
    records = [run((k + s) / 20 + 100 * r, options={"k": k, "rate": r, "kind": "x"}, seed=s) for k, r, s in tried]
    (drawing,) = (v for v in curves.options(gather(records)).drawings if "×" in v.label)
    assert "k × rate" in drawing.label
    (shown,) = drawing.figure.data
    assert (list(shown.x), list(shown.y)) == (["1", "2", "10"], ["0.0001", "0.001"])
    assert [list(row) for row in shown.z] == [
        [pytest.approx(13.5), pytest.approx(18.5), None],
        [pytest.approx(22.5), pytest.approx(27.5), pytest.approx(67.5)],
    ]
    assert list(shown.text[0]) == ["13.5", "18.5", ""]


def test_two_options_that_only_go_together_make_no_map() -> None:
    records = [run(0.5, options={"k": k, "d": d}) for k, d in ((1, 10), (2, 20), (3, 30))]
    assert not any("×" in drawing.label for drawing in curves.options(gather(records)).drawings)


def test_learning_curves_average_over_seeds_epoch_by_epoch() -> None:
    short = [{"epoch": 1, "train/loss": 3.0, "validation/accuracy": None}]
    (variant,) = curves.learning(gather([run(seed=1), run(seed=2, curve=short)])).drawings
    lines = {(trace.xaxis, trace.line.width): list(trace.y) for trace in variant.figure.data}
    assert lines["x", 2.4] == pytest.approx([2.0, 0.5, 1 / 3])
    assert lines["x2", 2.4] == pytest.approx([60, 70, 80])


def test_a_figure_without_records_says_what_is_missing() -> None:
    empty = gather([broken()])
    makers = (scores.scores, scores.duels, costs.pareto, curves.options, heads.maps, iterations.iterations)
    drawn = [make(empty, []) for make in makers]
    assert all(not figure.drawings and figure.missing for figure in drawn)


@pytest.mark.parametrize(
    ("rates", "kind"), [((1e-4, 1e-3, 1e-2), "log"), ((1.0, 2.0, 3.0), "linear"), ((-1, 500), "linear")]
)
def test_options_that_span_magnitudes_stand_on_a_logarithmic_axis(rates, kind) -> None:
    found = gather([run(options={"rate": rate}) for rate in rates])
    (variant,) = curves.options(found).drawings
    assert variant.figure.layout.xaxis.type == kind


def test_pareto_panels_name_their_axes_with_units_and_tell_of_other_machines() -> None:
    records = [run(0.5, "a"), run(0.6, "b", device="cuda: another")]
    (variant,) = costs.pareto(gather(records)).drawings
    layout = variant.figure.layout
    titles = [axis.title.text for axis in (layout.xaxis, layout.xaxis2, layout.xaxis3, layout.xaxis4)]
    assert titles == [
        "trained parameters, classifier included",
        "delta on disk (MB)",
        "training (s)",
        "peak memory (MB)",
    ]
    assert layout.yaxis.title.text == "Acc. × 100 on validation"
    assert variant.notes == [
        "Seconds and memory are from different machines: cpu: a processor (2 cores), cuda: another."
    ]


@given(some.lists(some.tuples(some.integers(0, 6), some.integers(0, 6)), max_size=12))
@settings(max_examples=50, deadline=None)
def test_the_front_is_that_of_comparing_everything_with_everything(points: list[tuple[int, int]]) -> None:
    expected = {
        (cost, score)
        for cost, score in points
        if not any(c <= cost and s >= score and (c, s) != (cost, score) for c, s in points)
    }
    found = costs.front(points)
    assert set(found) == expected
    assert found == sorted(found)


def test_the_front_is_drawn_as_steps_through_the_methods_on_it() -> None:
    records = [run(0.8, "dear", tuned=9_000), run(0.7, "cheap", tuned=1_000), run(0.6, "beaten", tuned=5_000)]
    (variant,) = costs.pareto(gather(records)).drawings
    front = next(trace for trace in variant.figure.data if trace.name == "Pareto front")
    assert (list(front.x), list(front.y), front.line.shape) == ([1_010, 9_010], pytest.approx([70, 80]), "hv")
    assert [trace.name for trace in variant.figure.data if trace.showlegend] == ["Pareto front"]
    assert set(names_on(variant.figure, "x")) == {"beaten", "cheap", "dear"}


def test_of_many_methods_those_on_the_front_are_named() -> None:
    records = [run(0.5 + k / 100, "h", options={"k": k}, tuned=1_000 * k) for k in (1, 2)]
    records += [run(0.3, "h", options={"k": k}, tuned=1_000 * k) for k in range(3, 3 + costs.LABELLED)]
    (variant,) = costs.pareto(gather(records)).drawings
    assert names_on(variant.figure, "x") == ["h k=1", "h k=2"]


def names_on(figure: go.Figure, axis: str) -> list[str]:
    """The points of a panel that are named, along the cost."""
    named = next(trace for trace in figure.data if trace.mode == "text" and trace.xaxis == axis)
    return [name.replace("<br>", "").strip() for name in named.text]


def test_a_method_without_a_cost_stands_only_where_it_has_one() -> None:
    records = [run(0.8, "a"), run(0.7, "b", memory=None, delta=None)]
    (variant,) = costs.pareto(gather(records)).drawings
    panels = [axis for axis in ("x", "x2", "x3", "x4") if "b" in names_on(variant.figure, axis)]
    assert panels == ["x", "x3"]  # parameters and seconds; neither bytes nor memory


def test_an_average_stands_before_its_settings_and_one_method_makes_no_picture() -> None:
    both = runs({"a": [0.5], "b": [0.6]}) + runs({"a": [0.5], "b": [0.6]}, task="cola")
    labels = [variant.label for variant in costs.pareto(gather(both)).drawings]
    assert [label.split(" · ")[0] for label in labels] == ["average", "CoLA", "RTE"]
    assert costs.pareto(study({"a": [0.5, 0.6]})).drawings == []


def test_a_matrix_leaves_out_pairs_that_never_met() -> None:
    records = [*runs({"a": [0.5, 0.6], "b": [0.6, 0.6]}), run(0.7, "c", seed=1), run(0.7, "c", seed=9)]
    (variant,) = scores.duels(found := gather(records), compare_all(found)).drawings
    heatmap = variant.figure.data[0]
    words = {(row, column): heatmap.text[i][j] for i, row in enumerate(heatmap.y) for j, column in enumerate(heatmap.x)}
    assert {words[name, name] for name in "abc"} == {""}
    assert words["b", "a"] == "1/1/0"
    assert words["a", "b"] == "0/1/1"
    assert words["c", "a"] == "1/0/0"


def test_ties_are_told_and_count_half() -> None:
    (variant,) = scores.duels(found := study({"a": [0.5, 0.7], "b": [0.5004, 0.6]}), compare_all(found)).drawings
    heatmap = variant.figure.data[0]
    place = list(heatmap.y).index("a"), list(heatmap.x).index("b")
    assert heatmap.text[place[0]][place[1]] == "1/1/0"
    assert heatmap.z[place[0]][place[1]] == 0.75


def test_the_best_method_is_on_top_and_its_interval_is_that_of_the_table() -> None:
    found = study({"low": [0.5, 0.6, 0.7], "high": [0.8, 0.9, 0.85]})
    (variant,) = scores.scores(found).drawings
    assert list(variant.figure.layout.yaxis.categoryarray) == ["low", "high"]  # plotly counts from below
    means = variant.figure.data[-1]
    place = list(means.y).index("high")
    low, high = means.x[place] - means.error_x.arrayminus[place], means.x[place] + means.error_x.array[place]
    assert (low, high) == pytest.approx((85 - 12.42, 85 + 12.42), abs=0.01)  # t(2) = 4.303 times 5 / sqrt(3)
    # Few seeds make wide intervals: the axis is the points', with a part of the interval beyond.
    assert variant.figure.layout.xaxis.range == pytest.approx((30, 110))


def test_a_swept_option_has_its_band_of_one_sample_deviation() -> None:
    scores_of = {1: [0.5, 0.6, 0.7], 2: [0.6, 0.6, 0.6], 4: [0.8, 0.9, 0.7]}
    records = [run(s, "h", seed=i, options={"k": k}) for k, of in scores_of.items() for i, s in enumerate(of)]
    (variant,) = curves.options(gather(records)).drawings
    band, mean, points = variant.figure.data
    assert list(mean.y) == pytest.approx([60, 60, 80])
    upper, lower = np.asarray(band.y)[:3], np.asarray(band.y)[3:][::-1]
    assert upper - lower == pytest.approx([20, 0, 20])
    assert len(points.y) == 9


def test_runs_without_a_score_are_no_point_of_a_sweep() -> None:
    records = [run(0.5, "h", options={"k": k}) for k in (1, 2)] + [run(None, "h", options={"k": 3})]
    found = gather(records)
    ((_, swept),) = curves.swept_options(found, found.settings[0]).items()
    assert [number for number, _ in swept] == [1, 2]


def test_a_curve_of_one_epoch_is_a_point_and_gaps_are_not_joined_with_zero() -> None:
    epochs = [{"epoch": 1, "train/loss": 2.0, "validation/accuracy": None}, {"epoch": 2, "validation/accuracy": 0.5}]
    (variant,) = curves.learning(gather([run(curve=epochs)])).drawings
    loss, metric = variant.figure.data
    assert (list(loss.x), list(loss.y), loss.mode) == ([1], [2.0], "markers")
    assert (list(metric.x), list(metric.y)) == ([2], [50.0])


def test_bands_are_see_through_in_the_colour_of_their_line() -> None:
    assert base.faded("#D55E00", 0.5) == "rgba(213,94,0,0.5)"
