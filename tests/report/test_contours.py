"""Loss contours: one scale for all runs, the path over them, and the numbers in words."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from peftlab.report.comparisons import compare_all
from peftlab.report.figures.found import draw_all
from peftlab.report.figures.landscapes import landscapes, names
from peftlab.report.study import Study, read
from studies import landscape, run, write


def beside(folder: Path) -> Study:
    """A study whose landscapes lie in this folder."""
    return Study((), folders=(folder,))


def drawn(tmp_path: Path, **options):
    landscape(**options).write(tmp_path)
    figure = landscapes(beside(tmp_path))
    assert figure.unread == []
    return figure


def test_the_path_comes_first_and_both_planes_can_be_chosen(tmp_path: Path) -> None:
    assert [variant.label for variant in drawn(tmp_path).drawings] == [
        "RTE · minilm · full data · seed 1 · plane of the path", "RTE · minilm · full data · seed 1 · random plane",
    ]  # fmt: skip
    assert len(drawn(tmp_path, path=False).drawings) == 1


def test_landscapes_of_different_seeds_can_be_told_apart(tmp_path: Path) -> None:
    other, mixed = landscape(path=False), landscape(path=False)
    for each in other.runs:
        each.seed = 2
    mixed.runs[1].seed = 2
    for number, each in enumerate((other, mixed)):
        each.write(tmp_path / f"{number}")
    assert [variant.label.split(" · ")[3] for variant in landscapes(beside(tmp_path)).drawings] == [
        "seed 2",
        "seeds 1, 2",
    ]


def test_runs_stand_side_by_side_on_one_scale_with_the_same_levels(tmp_path: Path) -> None:
    numbers = (("95.0 % explained",) * 2, ("sharpness 0.4", "sharpness 0.2"))
    for variant, told in zip(drawn(tmp_path, sharpness=(0.4, 0.2)).drawings, numbers, strict=True):
        first, second = (trace for trace in variant.figure.data if trace.type == "contour")
        assert (first.xaxis, second.xaxis) == ("x", "x2")
        assert first.coloraxis == second.coloraxis == "coloraxis"
        assert first.contours == second.contours
        scale = variant.figure.layout.coloraxis
        assert (scale.cmin, scale.cmax) == pytest.approx((0.1, 0.9))
        titles = [note.text for note in variant.figure.layout.annotations]
        assert titles == [f"full, seed 1 · {told[0]}", f"heads, seed 1 · {told[1]}"]


def test_the_path_ends_at_the_star_and_is_drawn_on_its_own_plane_only(tmp_path: Path) -> None:
    path, around = drawn(tmp_path).drawings
    line, star = (trace for trace in path.figure.data if trace.type == "scatter" and trace.xaxis == "x")
    assert (list(line.x), list(line.y)) == (pytest.approx([-0.8, -0.3, 0]), pytest.approx([-0.4, -0.15, 0]))
    assert line.marker.symbol[0] == "circle-open"
    assert [step for step, _ in line.customdata] == [0, 5, 10]
    assert (list(star.x), list(star.y), star.marker.symbol) == ([0], [0], "star")
    assert [trace.mode for trace in around.figure.data if trace.type == "scatter"] == ["markers"] * 2


def test_sharpness_explained_variance_and_the_planes_error_are_told(tmp_path: Path) -> None:
    about, full, heads = drawn(tmp_path).drawings[0].notes
    assert "Loss over 128 training examples, grids of 5 × 5, seed 0." in about
    assert "4 random filter-normalised directions, both ways, at the relative radius 0.2; ± one standard" in about
    assert full == (
        "full, seed 1: loss 0.1, sharpness 0.4 ± 0.04 (highest 0.4); the plane of its path explains 90.0 % + 5.0 % "
        "of the variance of 3 points, whose own loss is at most 0.05 from that of the plane."
    )
    assert heads.startswith("heads, seed 1: loss 0.1, sharpness 0.2")
    assert drawn(tmp_path, path=False).drawings[0].notes[1].endswith("; it kept no path.")


def test_a_loss_that_is_no_number_leaves_a_gap_and_not_the_scale(tmp_path: Path) -> None:
    found = landscape(path=False)
    found.runs[0].surface.losses[0][0] = float("nan")
    found.runs[0].sharpness = dataclasses.replace(found.runs[0].sharpness, mean=None, worst=None, error=None)
    found.write(tmp_path)
    (variant,) = landscapes(beside(tmp_path)).drawings
    assert np.isfinite([variant.figure.layout.coloraxis.cmin, variant.figure.layout.coloraxis.cmax]).all()
    assert variant.figure.data[0].z[0][0] is None
    assert "sharpness – (highest –)" in variant.notes[1]


def test_runs_of_one_name_are_told_apart_by_their_ids() -> None:
    found = landscape()
    found.runs[1].strategy = "full"
    assert list(names(found).values()) == ["full, seed 1 (000000)", "full, seed 1 (111111)"]


def test_what_is_not_finished_or_broken_is_told(tmp_path: Path) -> None:
    landscape(finished=False).write(tmp_path / "half")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "landscape.json").write_text("{")
    figure = landscapes(beside(tmp_path))
    broken, half = figure.unread
    assert figure.drawings == []
    assert half.endswith("not finished; its command resumes it: python -m peftlab.landscape runs --out drawn")
    assert "broken/landscape.json is not a whole JSON file" in broken


def test_the_page_finds_landscapes_below_its_folders(tmp_path: Path) -> None:
    write(tmp_path, [run()])
    landscape().write(tmp_path / "drawn")
    (tmp_path / "spoilt").mkdir()
    (tmp_path / "spoilt" / "landscape.json").write_text("[]")
    study = read([tmp_path, tmp_path])
    figure = next(figure for figure in draw_all(study, compare_all(study)) if figure.slug == "landscape")
    assert len(figure.drawings) == 2
    (line,) = figure.unread
    assert line.endswith("spoilt/landscape.json: schema None is not known here; allowed is 1")
