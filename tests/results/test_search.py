"""The equal-budget search: the best rate by a stated rule, as a recipe that a comparison takes."""

import itertools
import math
import re
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf
from records import failed, finished
from scipy.stats import kstest

from peftlab import resolvers
from peftlab.cli import CONF
from peftlab.errors import UserError
from peftlab.resolvers import searched_rate
from peftlab.results.record import Metric, RunRecord
from peftlab.search import find_best, main, to_recipe
from peftlab.strategies.registry import strategy_names
from peftlab.training.settings import look_up

RATES = yaml.safe_load((CONF / "experiment" / "search.yaml").read_text())["search"]["rates"]


def trial(strategy: str, rate: float | None, score: float | None, task: str = "mrpc", **fields) -> RunRecord:
    """One run of a search; a score of None is a run that failed."""
    options = fields.pop("options", {})
    config = {
        "strategy": {"name": strategy, **options},
        "training": {"learning_rate": rate},
        "data": {"holdout": fields.pop("holdout", 0.2)},
    }
    if score is None:
        return failed(strategy=strategy, task=task, config=config, seed=1, **fields)
    return finished(strategy=strategy, task=task, config=config, metric=Metric("f1", score), **fields)


def best(*records: RunRecord) -> dict[str, float]:
    return {row: trials[0].rate for row, trials in find_best(records).trials.of.items()}


def test_the_best_mean_over_tasks_wins():
    runs = [trial("lora", 1e-3, 0.9, "mrpc"), trial("lora", 1e-3, 0.1, "cola")]
    runs += [trial("lora", 3e-3, 0.7, "mrpc"), trial("lora", 3e-3, 0.4, "cola")]
    assert best(*runs) == {"lora": 3e-3}


def test_each_task_counts_alike_however_many_seeds_it_has():
    runs = [trial("lora", 1e-3, 0.8, "mrpc", seed=seed) for seed in (1, 2, 3)] + [trial("lora", 1e-3, 0.2, "cola")]
    (found,) = find_best(runs).trials.of["lora"]
    assert found.mean == pytest.approx(50)


@pytest.mark.parametrize("lost", [{"score": 0.9, "collapsed": True}, {"score": None}], ids=["collapsed", "failed"])
def test_a_collapsed_or_failed_run_puts_its_rate_below_all_others(lost):
    runs = [trial("lora", 1e-3, **lost, task="mrpc"), trial("lora", 1e-3, 0.9, "cola")]
    runs += [trial("lora", 3e-3, 0.1, "mrpc"), trial("lora", 3e-3, 0.1, "cola")]
    assert best(*runs) == {"lora": 3e-3}


def test_where_every_rate_collapsed_the_mean_decides():
    runs = [trial("classifier", rate, score, collapsed=True) for rate, score in ((1e-3, 0.1), (1e-2, 0.2))]
    assert best(*runs) == {"classifier": 1e-2}


def test_of_equal_rates_the_lower_is_taken():
    assert best(*(trial("lora", rate, 0.5) for rate in (1e-2, 1e-3, 3e-3))) == {"lora": 1e-3}


def test_a_variant_with_a_row_of_its_own_is_searched_apart():
    runs = [trial("hifi", 1e-3, 0.5), trial("hifi", 3e-3, 0.5, options={"variant": "mid-top"})]
    assert best(*runs) == {"hifi": 1e-3, "hifi-mid-top": 3e-3}


@pytest.mark.parametrize(
    ("runs", "why"),
    [
        ([trial("lora", 1e-3, 0.5)], "1 of 2 rates, 0 of their runs are missing"),
        ([trial("lora", 1e-3, 0.5), trial("lora", 3e-3, 0.6, status="interrupted")], "1 of their runs are missing"),
    ],
    ids=["a-rate-less", "a-run-interrupted"],
)
def test_a_strategy_with_fewer_trials_is_given_no_rate(runs, why):
    complete = [trial("bitfit", rate, 0.5) for rate in (1e-3, 3e-3)]
    outcome = find_best([*complete, *runs])
    assert outcome.trials.incomplete.keys() == {"lora"}
    recipe = to_recipe(outcome, Path("out"))
    assert yaml.safe_load(recipe)["searched"] == {"bitfit": {"learning_rate": 1e-3}}
    assert re.search(rf"^# lora: not searched alike: .*{why}", recipe, re.MULTILINE)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([trial("lora", None, 0.5)], "it was given no learning rate"),
        ([trial("lora", 1e-3, 0.5, holdout=None)], "a search needs data.holdout=SHARE"),
        ([trial("lora", 1e-3, 0.5), trial("lora", 1e-3, 0.6, options={"r": 4})], "a search varies the rate alone"),
        ([trial("lora", 1e-3, 0.5), trial("lora", 3e-3, 0.6, backbone="other")], "one backbone and one split"),
        ([trial("lora", 1e-3, 0.5), trial("lora", 3e-3, 0.6, holdout=0.5)], "one backbone and one split"),
    ],
)
def test_runs_that_make_no_fair_search_are_refused(runs, message):
    with pytest.raises(UserError, match=re.escape(message)):
        find_best(runs)


def test_the_recipe_tells_every_trial_and_where_the_best_is_at_the_edge():
    runs = [trial("lora", rate, score) for rate, score in ((1e-3, 0.5), (3e-3, 0.6), (1e-2, 0.55))]
    runs += [
        trial("bitfit", rate, score, collapsed=score == 0) for rate, score in ((1e-3, 0), (3e-3, 0.4), (1e-2, 0.5))
    ]
    lines = to_recipe(find_best(runs), Path("out")).splitlines()
    assert "# 3 rates a strategy, data.holdout=0.2, tasks mrpc, seeds 1; the best mean over tasks." in lines
    assert "  lora: {learning_rate: 0.003}   # 0.001: 50.0, 0.003: 60.0, 0.01: 55.0" in lines
    told = "at the edge of its rates; 0.001: 0.0 (every run collapsed), 0.003: 40.0, 0.01: 50.0"
    assert f"  bitfit: {{learning_rate: 0.01}}   # {told}" in lines


def test_of_several_seeds_those_that_collapse_are_named_with_every_rate():
    scores = {(1e-3, seed): 0.8 for seed in (1, 2, 3)} | {(3e-3, seed): 0.9 for seed in (1, 2)} | {(3e-3, 3): 0.3}
    runs = [trial("lora", rate, score, seed=seed, collapsed=score == 0.3) for (rate, seed), score in scores.items()]
    recipe = to_recipe(find_best(runs), Path("out"))
    told = "0.001: 80.0, 0.003: 70.0 (1 of 3 runs collapsed, mrpc seed 3)"
    assert f"  lora: {{learning_rate: 0.001}}   # at the edge of its rates; {told}\n" in recipe
    alone = [run for run in runs if run.config["training"]["learning_rate"] == 3e-3]
    assert "   # at its best 1 of 3 runs collapsed, mrpc seed 3; 0.003:" in to_recipe(find_best(alone), Path("out"))


def test_the_recipe_has_the_tuning_curves_as_comments():
    runs = [trial(name, rate, score + rate) for name, score in (("lora", 0.5), ("full", 0.7)) for rate in (1e-3, 3e-3)]
    lines = to_recipe(find_best(runs), Path("out")).splitlines()
    table = lines.index("#   best of  1                2")
    assert lines[table + 1 : table + 4] == [
        "#   full     70.1 [0*, 100*]  70.3 [0*, 100*]",
        "#   lora     50.1 [0*, 100*]  50.3 [0*, 100*]",
        "# Best of 1 and 2 trials: no two are told apart.",
    ]


def test_the_command_writes_a_recipe_that_goes_before_the_backbones_own(tmp_path, capsys):
    for rate, score in ((1e-3, 0.5), (3e-3, 0.6)):
        trial("full", rate, score, task="cola").write(tmp_path / "runs" / str(rate))
    target = tmp_path / "minilm-searched.yaml"
    assert main([str(tmp_path / "runs"), "--write", str(target)]) == 0
    assert target.read_text() == capsys.readouterr().out
    found = yaml.safe_load(target.read_text())
    assert found["defaults"] == ["minilm"]
    base = yaml.safe_load((CONF / "recipe" / "bert-large.yaml").read_text())
    assert look_up(base, "full", "cola")["learning_rate"] == 1e-5
    searched = look_up({**base, "searched": found["searched"]}, "full", "cola")
    assert searched == {"batch_size": 32, "learning_rate": 3e-3, "epochs": 10}


def test_a_low_rate_is_written_as_a_number():
    recipe = to_recipe(find_best([trial("full", 1e-5, 0.5), trial("full", 3e-5, 0.4)]), Path("out"))
    assert yaml.safe_load(recipe)["searched"]["full"]["learning_rate"] == 1e-5


def test_a_folder_without_runs_is_told_in_one_line(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: no runs below {tmp_path}\n"


def test_every_strategy_has_the_same_number_of_rates_an_even_factor_apart():
    assert {len(rates) for rates in RATES.values()} == {5}
    for rates in RATES.values():
        assert all(2.9 < high / low < 3.5 for low, high in itertools.pairwise(rates))
    assert set(RATES) - set(strategy_names()) <= {"default", "diff-pruning"}


@pytest.mark.parametrize(("strategy", "trial"), [("hifi", 0), ("full", 3), ("ia3", 4)])
def test_a_trial_takes_the_strategys_own_rate_or_the_default_one(strategy, trial):
    GlobalHydra.instance().clear()
    resolvers.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        typed = ["experiment=search", f"+strategy={strategy}", f"search.trial={trial}"]
        config = OmegaConf.to_container(compose("config", overrides=typed), resolve=True)
    assert config["training"]["learning_rate"] == RATES.get(strategy, RATES["default"])[trial]
    assert config["data"]["holdout"] == 0.2


def test_random_trials_lie_log_uniformly_between_the_ends_and_at_one_place_for_all_strategies():
    low, high = 1e-4, 1e-2
    drawn = [searched_rate("log-uniform", number, [low, 1e-3, high]) for number in range(400)]
    assert drawn[:3] == [searched_rate("log-uniform", number, [high, low]) for number in range(3)]
    assert len(set(drawn)) == 400
    assert low <= min(drawn) < max(drawn) <= high
    places = [math.log(rate / low) / math.log(high / low) for rate in drawn]
    assert kstest(places, "uniform").pvalue > 0.01
    other = [searched_rate("log-uniform", number, [1e-3, 1e-1]) for number in range(3)]
    assert other == pytest.approx([10 * rate for rate in drawn[:3]], rel=1e-5)
