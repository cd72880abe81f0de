"""Optuna's sweeper searches by the scores of records; what a study has done is not done again."""

from pathlib import Path

import pytest
import yaml

from commands import command
from peftlab.hydra_internals import first_values
from peftlab.outcome import Outcome
from peftlab.results.record import RunRecord
from runs import SILENT, SMALL

SEARCH = (
    f"+strategy=bitfit task=demo {SMALL} {SILENT} data.cache_dir=null -m hydra/sweeper=optuna hydra.sweep.dir=out "
    "hydra.sweeper.n_trials=3 hydra.sweeper.direction=maximize hydra.sweeper.sampler.seed=1 "
    "training.learning_rate=tag(log,interval(1e-6,1e0))"
)


def test_the_best_trial_is_that_of_the_best_record_and_nothing_is_repeated(tmp_path: Path, monkeypatch, capfd):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="the extra optuna is not installed")
    assert command(SEARCH, tmp_path, monkeypatch) == 0, capfd.readouterr().err
    records = [RunRecord.read(path) for path in (tmp_path / "out").glob("*/result.json")]
    scores = {record.config["training"]["learning_rate"]: record.metric.validation for record in records}
    assert len(scores) == 3
    found = yaml.safe_load((tmp_path / "out" / "optimization_results.yaml").read_text())
    assert found["best_value"] == max(scores.values())
    assert scores[found["best_params"]["training.learning_rate"]] == found["best_value"]
    capfd.readouterr()
    assert command(SEARCH, tmp_path, monkeypatch) == 0
    assert "3 of 3 had finished before" in capfd.readouterr().out
    assert yaml.safe_load((tmp_path / "out" / "optimization_results.yaml").read_text()) == found


def test_an_outcome_is_its_score_as_a_number_and_without_one_it_is_none():
    assert float(Outcome(Path("run"), "finished", score=0.75)) == 0.75
    with pytest.raises(ValueError, match="run has no score: the loss is nan"):
        float(Outcome(Path("run"), "mistake", "the loss is nan"))


@pytest.mark.parametrize(
    ("override", "first"),
    [
        ("training.learning_rate=interval(1e-5,1e-2)", "training.learning_rate=1e-05"),
        ("training.learning_rate=tag(log,interval(0.1,1))", "training.learning_rate=0.1"),
        ("seed=range(3,7)", "seed=3"),
        ("seed=5,6", "seed=5"),
        ("seed=4", "seed=4"),
    ],
)
def test_the_first_job_of_a_search_is_checked_with_the_lowest_of_an_interval(override: str, first: str):
    assert first_values([override]) == [first]
