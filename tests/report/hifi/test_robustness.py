"""Mean, band and numbers of the robustness figures, and which variant the others are compared with."""

from pathlib import Path

import numpy as np
import pytest

from peftlab.report.figures.hifi import robustness
from peftlab.report.figures.hifi.selections import selections_of
from peftlab.report.study import Study, gather, read
from studies import run, write, write_selection

# The settings of Section 5.1 as they stand in a record: three options, each changed alone.
SETTINGS = ({}, {"batch_size": 16}, {"n": 1000}, {"rate": 5e-5})
STANDARD = {"batch_size": 32, "n": 300, "rate": 2e-5}


def written(folder: Path, *changes: dict, seeds: tuple[int, ...] = (1, 2), **selection) -> Study:
    records = [run(0.5, "heads", seed=seed, options=STANDARD | change) for change in changes for seed in seeds]
    write(folder, records)
    for record in records:
        flipped = record.config["strategy"]["n"] == 1000
        write_selection(record, **({"flipped": flipped} | selection))
    return read([folder])


@pytest.fixture
def settings(tmp_path: Path) -> Study:
    return written(tmp_path, *SETTINGS)


def test_the_standard_is_what_all_others_change_in_one_thing(settings: Study) -> None:
    (figure,) = robustness.richness(settings).drawings
    names = list(dict.fromkeys(trace.name for trace in figure.figure.data))
    assert names == ["heads batch_size=32 n=300 rate=2e-05", "batch_size=16", "n=1000", "rate=5e-05"]


@pytest.mark.parametrize("best", range(4))
def test_the_standard_does_not_depend_on_which_variant_scored_best(best: int) -> None:
    records = [run(0.9 if n == best else 0.5, "heads", options=STANDARD | change) for n, change in enumerate(SETTINGS)]
    cells = gather(records).cells
    assert dict(robustness.standard(dict.fromkeys(cells)).method.options)["strategy.n"] == "300"
    assert robustness.changes(cells[0], cells[0]) == []


def test_each_variant_is_told_beside_the_standard_and_beside_itself(settings: Study) -> None:
    (variant,) = robustness.richness(settings).drawings
    same = "Spearman 1.000 (lowest layer 1.000), Kendall 1.000; in common 100 % of a layer's 2 richest heads, 100 %"
    standard, against, between = variant.notes[0], variant.notes[1:4], variant.notes[4:]
    assert standard == "The standard: heads batch_size=32 n=300 rate=2e-05."
    assert against[0] == f"batch_size=16 against the standard, seed by seed: {same} of the chosen heads."
    assert "n=1000 against" in against[1]
    assert "Spearman -1.000 (lowest layer -1.000), Kendall -1.000; in common 0 % of a layer's" in against[1]
    assert between[0] == f"The standard, between its 2 seeds: {same} of the chosen heads."
    assert [note.partition(",")[0] for note in between[1:]] == ["batch_size=16", "n=1000", "rate=5e-05"]


def test_of_the_correlation_the_numbers_are_of_pairs_and_the_lines_of_heads(settings: Study) -> None:
    selections = selections_of(settings).heads
    (variant,) = robustness.correlation(settings).drawings
    assert "of a layer's 1 strongest of 6 pairs" in variant.notes[1]
    standard = selections[robustness.standard(selections)]
    line = variant.figure.data[1]
    assert np.asarray(line.y) == pytest.approx(standard.degree.mean(axis=0)[0])
    assert variant.figure.layout.yaxis.title.text == "share of correlation"


def test_the_band_is_one_sample_deviation_over_seeds(settings: Study) -> None:
    selections = selections_of(settings).heads
    band, line = robustness.richness(settings).drawings[0].figure.data[:2]
    values = selections[robustness.standard(selections)].richness[:, 0]
    assert np.asarray(line.y) == pytest.approx(values.mean(axis=0))
    upper, lower = np.asarray(band.y)[:4], np.asarray(band.y)[4:][::-1]
    assert upper - np.asarray(line.y) == pytest.approx(values.std(axis=0, ddof=1))
    assert np.asarray(line.y) - lower == pytest.approx(values.std(axis=0, ddof=1))
    assert list(band.x) == ["1", "2", "3", "4", "4", "3", "2", "1"]


def test_every_layer_has_its_panel_and_every_variant_one_entry_in_the_legend(settings: Study) -> None:
    (variant,) = robustness.richness(settings).drawings
    figure = variant.figure
    assert [note.text for note in figure.layout.annotations] == ["layer 1", "layer 2"]
    assert len(figure.data) == 2 * 2 * 4  # band and line, layers, variants
    assert sum(bool(trace.showlegend) for trace in figure.data) == 4
    lines = [trace.line for trace in figure.data if trace.line.color]
    assert len({line.color for line in lines}) == len({line.dash for line in lines}) == 4  # what agrees stays visible


def test_states_of_the_model_are_never_drawn_together(tmp_path: Path) -> None:
    for steps in (0, 100):
        options = [{"score_after_steps": steps, "n": n} for n in (1, 2)]
        records = [run(0.5, "heads", seed=seed, options=given) for given in options for seed in (1, 2)]
        write(tmp_path / str(steps), records)
        for record in records:
            write_selection(record, after_steps=steps)
    found = read([tmp_path])
    labels = [variant.label for variant in robustness.richness(found).drawings]
    assert labels == [
        "heads · RTE · minilm · full data · untouched model",
        "heads · RTE · minilm · full data · after 100 steps of full fine-tuning",
    ]
    names = {trace.name for v in robustness.richness(found).drawings for trace in v.figure.data}
    assert names == {"heads n=1", "n=2"}  # the state is the figure's, not a change


def test_one_seed_of_one_variant_shows_no_robustness(tmp_path: Path) -> None:
    alone = written(tmp_path, {}, seeds=(1,))
    figure = robustness.richness(alone)
    assert (figure.drawings, figure.missing) == ([], robustness.MISSING)


def test_one_seed_in_two_variants_has_lines_without_a_band(tmp_path: Path) -> None:
    found = written(tmp_path, {}, {"batch_size": 16}, seeds=(1,))
    (variant,) = robustness.richness(found).drawings
    band, line = variant.figure.data[:2]
    assert np.asarray(band.y)[:4] == pytest.approx(np.asarray(line.y))
    assert [note.partition(",")[0] for note in variant.notes] == [
        "The standard: heads batch_size=16.", "batch_size=32 against the standard",
    ]  # fmt: skip


def test_a_variant_of_another_model_is_not_drawn_among_the_others(tmp_path: Path) -> None:
    found = written(tmp_path, {}, {"batch_size": 16})
    other = [run(0.5, "heads", seed=s, options=STANDARD | {"rate": 1.0}) for s in (1, 2)]
    write(tmp_path / "other", other)
    for record in other:
        write_selection(record, layers=3)
    found = read([tmp_path])
    (variant,) = robustness.richness(found).drawings
    assert {trace.name for trace in variant.figure.data} == {"heads batch_size=16", "batch_size=32"}
    assert len(variant.figure.layout.annotations) == 2


def test_names_from_data_are_not_markup(tmp_path: Path) -> None:
    records = [run(0.5, "heads", options={"n": value}) for value in ("<b>1</b>", "2")]
    write(tmp_path, records)
    for record in records:
        write_selection(record)
    found = read([tmp_path])
    (variant,) = robustness.richness(found).drawings
    assert "<b>" not in variant.figure.to_json()
