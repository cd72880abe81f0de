"""Which strategy is ahead at which budget, and how it is said."""

import math

import pytest
from records import finished

from peftlab.results.record import Metric, RunRecord
from peftlab.results.trials import trials_of
from peftlab.results.tuning_curves import GRID, TuningCurves, tuning_curves


def curves(scores: dict[str, list[float]], draw: str = "log-uniform", **metric: str) -> TuningCurves:
    """The curves of strategies with one run a trial; their values are shares unless `metric` says otherwise."""

    def run(value: float) -> RunRecord:
        return finished(
            config={"search": {"draw": draw}}, metric=Metric(**({"name": "accuracy"} | metric), validation=value)
        )

    runs = {row: {float(i): {("rte", 1): run(value)} for i, value in enumerate(of)} for row, of in scores.items()}
    found = tuning_curves(trials_of(runs))
    assert found is not None
    return found


TWENTY = [i / 100 for i in range(20)]
APART = {"low": TWENTY, "near": [0.05 + x for x in TWENTY], "high": [0.5 + x for x in TWENTY]}


def test_a_strategy_is_ahead_where_its_band_lies_above_the_others() -> None:
    found = curves(APART)
    assert list(found.curves) == ["high", "near", "low"]
    assert found.level == pytest.approx(1 - 0.05 / 3)
    assert found.ahead(1) == {"high": ["near", "low"]}
    assert found.ahead(5) == {}  # nothing limits the best of five from above
    assert found.sentences() == [
        "Best of 1 and 2 trials: high is ahead of near, low; the others are not told apart.",
        "Best of 3, 5, 10 and 20 trials: no two are told apart.",
        "With 20 trials every band reaches the metric's bound, 100, for the best of 3, 5, 10 and 20 trials: a limit of "
        "the best of 3 needs 29 trials.",
    ]


def test_five_trials_tell_nothing_apart_and_say_how_many_would_limit_a_curve() -> None:
    found = curves({"high": [0.9, 0.91, 0.92, 0.93, 0.94], "low": [0.1, 0.11, 0.12, 0.13, 0.14]}, draw="grid")
    assert [found.text("low", budget) for budget in found.budgets] == [
        "12.0 [0*, 100*]",
        "13.0 [10.0, 100*]",
        "13.0 [10.0, 100*]",
        "14.0 [11.0, 100*]",
    ]
    assert found.sentences() == [
        "Best of 1, 2, 3 and 5 trials: no two are told apart.",
        "With 5 trials every band reaches the metric's bound, 100, for the best of 1, 2, 3 and 5 trials: a limit of "
        "the best of 1 needs 8 trials.",
        GRID,
    ]


def test_of_errors_the_lowest_is_the_best_and_nothing_limits_them_above() -> None:
    errors = {"near": [1 + x for x in TWENTY], "far": [9 + x for x in TWENTY]}
    found = curves(errors, name="mse", better="lower", unit="")
    best = found.at("near", 1)
    assert best.high < best.median < best.low
    assert found.ahead(1) == {"near": ["far"]}
    assert found.at("far", 20).high == 0  # the bound of squared errors
    assert curves({"a": [1, 2]}, name="own", better="lower", unit="").at("a", 1).high == -math.inf


def test_a_strategy_without_all_of_its_trials_has_no_curve() -> None:
    found = curves({"whole": [0.5, 0.6, 0.7], "short": [0.5, 0.6]})
    assert list(found.curves) == ["whole"]
    assert found.absent() == ["short has no curve: 2 of 3 rates, 0 of their runs are missing."]
