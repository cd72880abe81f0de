"""What the figures are drawn from: fronts, curves, matrices and heads."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from peftlab.report.comparisons import compare_all
from peftlab.report.figures import base, costs, curves, heads, scores
from peftlab.report.selections import Heads, agreement, between_seeds, heads_of, overlap
from peftlab.report.study import gather, read
from studies import broken, run, runs, study, write, write_selection


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
    (variant,) = scores.scores(gather(records)).variants
    fine, collapsed, means = variant.figure.data
    assert (list(fine.customdata), list(fine.x)) == ([1, 2], pytest.approx([50, 60]))
    assert (list(collapsed.customdata), collapsed.marker.symbol) == ([3], "x")
    assert list(means.x) == pytest.approx([50])


def test_the_matrix_counts_each_pair_of_runs_from_both_sides() -> None:
    (figure,) = scores.duels(compare_all(study({"a": [0.5, 0.6, 0.7], "b": [0.4, 0.6, 0.8]}))).variants
    heatmap = figure.figure.data[0]
    assert [list(row) for row in heatmap.text] == [["", "1/1/1"], ["1/1/1", ""]]
    assert heatmap.z[0][1] == 0.5


def test_names_reach_plotly_as_text_and_not_as_markup() -> None:
    assert base.text("<b>&") == "&lt;b&gt;&amp;"
    (variant,) = scores.scores(study({"<img src=x>": [0.5]})).variants
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
    variant = next(v for v in curves.options(found).variants if "d=0.5" in v.label)
    points, iterations = variant.figure.data[2], variant.figure.data[4]
    assert list(points.y) == pytest.approx([51, 51, 52, 52, 53, 53])
    assert list(iterations.y) == pytest.approx([2, 3, 4])


def test_learning_curves_average_over_seeds_epoch_by_epoch() -> None:
    short = [{"epoch": 1, "train/loss": 3.0, "validation/accuracy": None}]
    (variant,) = curves.learning(gather([run(seed=1), run(seed=2, curve=short)])).variants
    lines = {(trace.xaxis, trace.line.width): list(trace.y) for trace in variant.figure.data}
    assert lines["x", 2.4] == pytest.approx([2.0, 0.5, 1 / 3])
    assert lines["x2", 2.4] == pytest.approx([60, 70, 80])


@pytest.fixture
def with_heads(tmp_path: Path):
    records = [run(0.8, "heads", seed=s, options={"n": n}) for n in (100, 300) for s in (1, 2)]
    write(tmp_path, records)
    for record in records:
        write_selection(record)
    return read([tmp_path])


def test_selections_are_read_seed_by_seed(with_heads) -> None:
    found, unread = heads_of(with_heads.cells[0])
    assert (unread, found.seeds, found.richness.shape, found.correlation.shape) == ([], [1, 2], (2, 2, 4), (2, 2, 4, 4))
    assert found.chosen.sum(axis=-1).tolist() == [[2, 2], [2, 2]]
    assert found.degree.sum(axis=-1) == pytest.approx(np.ones((2, 2)))


def test_head_figures_have_a_variant_a_method_and_robustness_its_numbers(with_heads) -> None:
    selections = {cell: heads_of(cell)[0] for cell in with_heads.cells}
    assert [v.label for v in heads.maps(selections).variants] == [
        "heads n=100 · RTE · minilm · full data", "heads n=300 · RTE · minilm · full data",
    ]  # fmt: skip
    assert len(heads.covariance(selections).variants[0].figure.data) == 2
    (robust,) = heads.robustness(with_heads, selections).variants
    assert robust.notes[0] == (
        "heads n=100, between its 2 seeds: rank correlation 1.00, 100 % of the chosen heads in common."
    )
    assert robust.notes[-1].startswith("heads n=300 against heads n=100: rank correlation 1.00")


def test_rank_correlation_is_scipys_mean_over_layers_and_overlap_is_by_hand() -> None:
    first, second = np.random.default_rng(0).random((2, 3, 8))
    expected = np.mean([stats.spearmanr(a, b).statistic for a, b in zip(first, second, strict=True)])
    assert agreement(first, second) == pytest.approx(expected)
    assert agreement(first, np.ones_like(first)) is None
    chosen = np.array([[True, True, False]]), np.array([[False, True, False]])
    assert overlap(*chosen) == pytest.approx(2 / 3)
    alone = Heads([1], first[None], np.zeros((1, 3, 8, 8)), first[None], first[None] > 0.5)
    assert between_seeds(alone) == (None, None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"layers": 1, "heads": 2, "richness": [[1]]}', "not a selection of heads"),
        ("{", "not a selection of heads"),
        ('{"mask": 3}', None),
    ],
)
def test_a_selection_that_cannot_be_read_is_told_and_another_methods_is_none(content, told, tmp_path: Path) -> None:
    write(tmp_path, [run()])
    (tmp_path / "0-rte-seed1" / "selection.json").write_text(content)
    found, unread = heads_of(read([tmp_path]).cells[0])
    assert found is None
    assert unread == [] if told is None else told in unread[0]


def test_a_figure_without_records_says_what_is_missing() -> None:
    empty = gather([broken()])
    drawn = [scores.scores(empty), scores.duels([]), costs.pareto(empty), curves.options(empty), heads.maps({})]
    assert all(not figure.variants and figure.missing for figure in drawn)


def test_covariance_is_divided_by_its_layers_largest(with_heads) -> None:
    found, _ = heads_of(with_heads.cells[0])
    panels = heads.covariance({with_heads.cells[0]: found}).variants[0].figure.data
    for layer, panel in enumerate(panels):
        expected = found.correlation.mean(axis=0)[layer]
        assert np.asarray(panel.z) == pytest.approx(expected / expected.max(), abs=1e-5)
        assert (panel.zmin, panel.zmax) == (0, 1)


def test_the_head_map_shows_means_over_seeds_and_the_share_that_chose(with_heads) -> None:
    found, _ = heads_of(with_heads.cells[0])
    richness, degree, rank, chosen = heads.maps({with_heads.cells[0]: found}).variants[0].figure.data
    assert np.asarray(richness.z) == pytest.approx(found.richness.mean(axis=0), abs=1e-5)
    assert np.asarray(degree.z).sum(axis=1) == pytest.approx([1, 1], abs=1e-4)
    assert np.asarray(rank.z).tolist() == [[4, 3, 2, 1]] * 2
    assert np.asarray(chosen.z).tolist() == [[0, 0, 1, 1]] * 2
    assert (list(richness.x), list(richness.y)) == (["1", "2", "3", "4"], ["1", "2"])


def test_the_robustness_band_is_one_standard_deviation_over_seeds(with_heads) -> None:
    selections = {cell: heads_of(cell)[0] for cell in with_heads.cells}
    band, line = heads.robustness(with_heads, selections).variants[0].figure.data[:2]
    of = selections[with_heads.cells[0]].richness[:, 0]
    assert np.asarray(line.y) == pytest.approx(of.mean(axis=0))
    assert np.asarray(band.y)[:4] - np.asarray(line.y) == pytest.approx(of.std(axis=0, ddof=1))


def test_seeds_of_another_model_do_not_stand_among_the_others(tmp_path: Path) -> None:
    records = [run(seed=1), run(seed=2)]
    write(tmp_path, records)
    for record, layers in zip(records, (2, 3), strict=True):
        write_selection(record, layers=layers)
    found, unread = heads_of(read([tmp_path]).cells[0])
    assert found.seeds == [1]
    assert unread[0].endswith("another number of layers or heads than seed 1's")


@pytest.mark.parametrize(
    ("rates", "kind"), [((1e-4, 1e-3, 1e-2), "log"), ((1.0, 2.0, 3.0), "linear"), ((-1, 500), "linear")]
)
def test_options_that_span_magnitudes_stand_on_a_logarithmic_axis(rates, kind) -> None:
    found = gather([run(options={"rate": rate}) for rate in rates])
    (variant,) = curves.options(found).variants
    assert variant.figure.layout.xaxis.type == kind


def test_pareto_panels_name_their_axes_with_units_and_tell_of_other_machines() -> None:
    records = [run(0.5, "a"), run(0.6, "b", device="cuda: another")]
    (variant,) = costs.pareto(gather(records)).variants
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
