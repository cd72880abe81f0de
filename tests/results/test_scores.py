"""What a metric's direction and unit decide: how a score is shown, named and ranked."""

import re
from pathlib import Path

import pytest
from records import finished

import peftlab.errors
from peftlab.results.record import Metric, RunRecord
from peftlab.results.scores import PERCENT, Scale, common_scale, percent

SOURCE = Path(peftlab.__file__ or "").parent
ACCURACY, MAE = Scale("accuracy"), Scale("mae", "lower", "")
ERROR_RATE, RMSE = Scale("error", "lower", "%"), Scale("rmse", "lower", "")


@pytest.mark.parametrize(
    ("scale", "value", "score", "text", "name", "heading"),
    [
        (ACCURACY, 0.8534, 85.34, "85.3", "accuracy × 100", "Acc."),
        (MAE, 0.4321, 0.4321, "0.432", "mae", "mae ↓"),
        (ERROR_RATE, 0.1466, 14.66, "14.7", "error × 100", "error ↓"),
        (Scale(), 0.5, 50.0, "50.0", "score × 100", ""),
    ],
)
def test_a_unit_decides_how_a_score_is_shown(scale, value, score, text, name, heading):
    assert scale.score(value) == pytest.approx(score)
    assert scale.text(scale.score(value)) == text
    assert (scale.name, scale.heading) == (name, heading)


@pytest.mark.parametrize(("scale", "best_first"), [(ACCURACY, [0.9, 0.5, -0.1, None]), (MAE, [-0.1, 0.5, 0.9, None])])
def test_a_direction_decides_which_score_comes_first(scale, best_first):
    assert sorted([0.5, None, 0.9, -0.1], key=scale.order) == best_first
    assert (scale.best([0.5, 0.9, -0.1]), scale.worst([0.5, 0.9, -0.1])) == (best_first[0], best_first[2])
    assert scale.gain(best_first[0], best_first[1]) > 0


@pytest.mark.parametrize(
    ("scale", "gain", "text"),
    [
        (ACCURACY, 10.52, "+10.5 points"),
        (ACCURACY, -0.5, "-0.5 points"),
        (MAE, 0.1052, "gain +0.105"),
        (ERROR_RATE, 1.0, "gain +1.0 points"),
    ],
)
def test_points_are_of_percent_alone_and_a_gain_is_named_where_lower_is_better(scale, gain, text):
    assert scale.gain_text(gain) == text


def test_scores_tie_where_they_print_alike():
    assert (ACCURACY.tie, MAE.tie) == (0.05, 0.0005)


@pytest.mark.parametrize(
    ("scales", "common"),
    [
        ([ACCURACY, ACCURACY], ACCURACY),
        ([ACCURACY, Scale("f1")], Scale()),
        ([MAE, RMSE], Scale(None, "lower", "")),
        ([ACCURACY, MAE], None),
        ([MAE, ERROR_RATE], None),
        ([ACCURACY, ERROR_RATE], None),
        ([], None),
    ],
)
def test_a_mean_needs_one_direction_and_unit(scales, common):
    assert common_scale(scales) == common


def test_old_records_are_fractions_where_higher_is_better(tmp_path):
    file = finished(0.8).write(tmp_path)
    file.write_text(re.sub(r',\s*"better": "higher",\s*"unit": "%"', "", file.read_text()))
    assert '"unit"' not in file.read_text()
    metric = RunRecord.read(file).metric
    assert metric is not None
    assert Scale.of(metric) == Scale("accuracy") == Scale("accuracy", PERCENT.better, PERCENT.unit)


@pytest.mark.parametrize("wrong", [{"better": "up"}, {"unit": "points"}])
def test_a_direction_or_unit_that_does_not_exist_is_refused(wrong, tmp_path):
    file = finished(metric=Metric("mae", 0.3, **wrong)).write(tmp_path)
    with pytest.raises(peftlab.errors.UserError, match="must be one of"):
        RunRecord.read(file)


def test_a_part_in_percent():
    assert (percent(0.25), percent(3, 12)) == (25, 25)


@pytest.mark.parametrize("room", ["results", "report", "search.py", "notebook.py", "landscape"])
def test_no_other_file_knows_how_scores_are_shown_or_ranked(room):
    files = [SOURCE / room] if room.endswith(".py") else sorted((SOURCE / room).rglob("*.py"))
    for file in files:
        if file.name != "scores.py" or file.parent.name != "results":
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"\b100(\.0)? \*|\* 100\b|-\(?\w*\.?mean\b|lower is better\)", text), file
