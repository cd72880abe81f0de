"""Figure 5: the curves are the selections', and the bend is where a curve is furthest above its chord."""

from pathlib import Path

import numpy as np
import pytest

from peftlab.report.figures.hifi import spectra
from peftlab.report.figures.hifi.selections import heads_of
from peftlab.report.page import render
from peftlab.report.study import Study, read
from studies import run, write, write_selection
from studies import spectra as shares_of


def with_spectra(folder: Path, features: int | None = 6) -> Study:
    records = [run(0.5, "heads", seed=seed) for seed in (1, 2)]
    write(folder, records)
    for record in records:
        write_selection(record, features=features)
    return read([folder])


def drawn(study: Study):
    return spectra.spectra(study)


def test_each_layer_shows_every_head_their_mean_and_the_threshold(tmp_path: Path) -> None:
    (variant,) = drawn(with_spectra(tmp_path)).drawings
    heads, mean, threshold = variant.figure.data[:3]
    expected = shares_of(4, 6)
    assert np.asarray(heads.y, dtype=float)[:6] == pytest.approx(expected[0], abs=1e-4)
    assert [heads.y[place] for place in (6, 13, 20, 27)] == [None] * 4  # gaps, so that heads are not joined
    assert np.asarray(mean.y) == pytest.approx(expected.mean(axis=0), abs=1e-4)
    assert (list(threshold.y), list(threshold.x)) == ([0.9, 0.9], [1, 6])
    assert [note.text for note in variant.figure.layout.annotations] == ["layer 1", "layer 2"]


def test_a_curve_says_which_head_it_is(tmp_path: Path) -> None:
    (variant,) = drawn(with_spectra(tmp_path)).drawings
    heads = variant.figure.data[0]
    assert len(heads.x) == len(heads.y) == len(heads.customdata) == 4 * 7
    assert list(heads.customdata[::7]) == [1, 2, 3, 4]


def test_shares_are_drawn_from_nothing_to_all(tmp_path: Path) -> None:
    (variant,) = drawn(with_spectra(tmp_path)).drawings
    assert tuple(variant.figure.layout.yaxis.range) == (0, 1.02)
    assert all(trace.y[-1] in (None, 0.9, pytest.approx(1)) for trace in variant.figure.data)


@pytest.mark.parametrize(
    ("curve", "place"),
    [
        ([0.7, 0.8, 0.9, 1.0], 1),  # above the chord by 0.45, 0.3, 0.15, 0
        ([0.5, 0.8, 0.9, 1.0], 2),  # 0.25, 0.3, 0.15, 0
        ([0.25, 0.5, 0.75, 1.0], 1),  # the chord itself: nothing bends
    ],
)
def test_the_bend_is_furthest_above_the_chord(curve: list[float], place: int) -> None:
    assert spectra.bend(np.array(curve)) == place


def test_the_numbers_below_are_richness_and_bend_layer_by_layer(tmp_path: Path) -> None:
    found, _ = heads_of(with_spectra(tmp_path).cells[0])
    (told,) = spectra.notes(found)
    mean = shares_of(4, 6).mean(axis=0)
    bend = int(np.argmax(mean - np.arange(1, 7) / 6)) + 1
    assert told.startswith("Of 6 values, how many reach ξ = 0.9 (mean richness)")
    for layer in (1, 2):
        richness = found.richness[:, layer - 1].mean()
        assert f"layer {layer}: {richness:.1f}, {bend} ({100 * mean[bend - 1]:.0f} %)" in told


def test_selections_without_curves_are_said_to_be_missing(tmp_path: Path) -> None:
    study = with_spectra(tmp_path, features=None)
    figure = drawn(study)
    assert figure.drawings == []
    html = render(study, [], [])
    assert "Cumulative singular values (Fig. 5): no selection holds the cumulative singular values" in html


def test_curves_that_not_every_seed_holds_are_not_averaged(tmp_path: Path) -> None:
    study = with_spectra(tmp_path)
    write_selection(study.cells[0].runs[1], features=None)
    assert drawn(read([tmp_path])).drawings == []
    write_selection(study.cells[0].runs[1], features=8)
    assert drawn(read([tmp_path])).drawings == []
