"""Every file under `conf/` composes, says how it is used, and agrees with the code that reads it."""

import dataclasses
import re
from functools import cache

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException
from omegaconf import OmegaConf

from models import strategy_or_skip
from peftlab import resolvers
from peftlab.arguments import choices, normalise
from peftlab.backbones.loading import BackboneSpec
from peftlab.cli import CONF
from peftlab.options.schema import build
from peftlab.plan import make_parts
from peftlab.results.settings import LEGACY_DEFAULTS, experiment_settings
from peftlab.strategies.registry import create_strategy, strategy_class, strategy_names
from peftlab.tasks.task import Task
from peftlab.training.settings import resolve_settings
from shapes import BERT_LARGE, ROBERTA_BASE, shape_of

FILES = sorted(CONF.rglob("*.yaml"))
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
CHOICES = [(group, choice) for group in GROUPS for choice in choices(CONF, group)]
# A folder of weights has no name and no rates of its own: tests/test_own_weights.py.
BACKBONES = [name for name in choices(CONF, "backbone") if name != "folder"]
GLUE = ("qnli", "sst2", "mnli", "cola", "mrpc", "stsb", "rte", "qqp")


@cache
def composed(*overrides):
    """Return the configuration that a command line gives, as a run sees it."""
    resolvers.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return OmegaConf.to_container(compose("config", overrides=normalise(list(overrides))), resolve=True)


def names_its_strategy(group, choice):
    """Return whether a choice, or another one that it stands on, brings a strategy along."""
    entries = (yaml.safe_load((CONF / group / f"{choice}.yaml").read_text()) or {}).get("defaults", [])
    below = set(entries) & set(choices(CONF, group)) if all(isinstance(entry, str) for entry in entries) else set()
    return any("/strategy" in entry for entry in entries) or any(names_its_strategy(group, other) for other in below)


@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_composes_with_the_rest_as_it_is(group, choice):
    base = [] if group == "strategy" or names_its_strategy(group, choice) else ["strategy=hifi"]
    config = composed(*base, f"{group}={choice}")
    assert config["strategy"]["name"] in strategy_names()
    if group in ("strategy", "task", "backbone", "logger"):
        assert config[group]["name"] == (None if choice == "folder" else choice)


def test_table1_measures_every_strategy_there_is():
    swept = yaml.safe_load((CONF / "experiment" / "table1.yaml").read_text())["hydra"]["sweeper"]["params"]
    assert list(swept) == ["+strategy"]
    loader = ConfigLoaderImpl(create_config_search_path(str(CONF)))
    (override,) = OverridesParser.create(config_loader=loader).parse_overrides([f"+strategy={swept['+strategy']}"])
    assert sorted(override.sweep_string_iterator()) == strategy_names()


def test_a_choice_that_does_not_exist_does_not_compose():
    with pytest.raises(ConfigCompositionException):
        composed("+strategy=hifi", "experiment=nonsense")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_file_begins_with_a_command_that_uses_it(path):
    # Hydra reads where a file's content goes from its very first line.
    first = next(line for line in path.read_text().splitlines() if not line.startswith("# @package"))
    command = re.match(r"# python train\.py (.*)", first)
    assert command, first
    group = path.parent.name
    if group == "recipe":
        assert re.search(rf"(backbone|recipe)={path.stem}(\s|$)", command[1])
    elif group in GROUPS:
        assert re.search(rf"(^|\s)\+?{group}={path.stem}(\s|;|$)", command[1])


def test_the_strategies_that_can_be_chosen_are_those_there_is_code_for():
    assert choices(CONF, "strategy") == strategy_names()


@pytest.mark.parametrize("name", choices(CONF, "strategy"))
def test_a_strategy_file_has_the_options_and_defaults_of_its_class(name):
    written = yaml.safe_load((CONF / "strategy" / f"{name}.yaml").read_text())
    assert written.pop("name") == name
    fields = [field for field in dataclasses.fields(strategy_class(name)) if field.init]
    assert set(written) == {field.name for field in fields}
    options = {key: value for key, value in composed(f"+strategy={name}")["strategy"].items() if key != "name"}
    made, plain = strategy_or_skip(name, options), create_strategy(name, {})
    for field in fields:
        assert getattr(made, field.name) == getattr(plain, field.name), field.name


@pytest.mark.parametrize("name", choices(CONF, "task"))
def test_a_task_file_describes_a_task(name):
    assert Task.from_config(composed("+strategy=hifi", f"task={name}")["task"]).name == name


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_file_says_where_one_model_comes_from(name):
    spec = build(BackboneSpec, composed("+strategy=hifi", f"backbone={name}")["backbone"], "backbone")
    assert (spec.hub is None and spec.parts is None) == (spec.random is not None)


def test_every_backbone_has_a_recipe_and_every_recipe_a_backbone():
    # A search writes its winners beside the backbone's own recipe.
    own = [name for name in choices(CONF, "recipe") if not name.endswith("-searched")]
    assert own == choices(CONF, "backbone")


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("shots", choices(CONF, "shots"))
def test_every_strategy_has_settings_for_every_task_on_every_backbone(backbone, shots):
    config = composed("+strategy=hifi", f"backbone={backbone}", f"shots={shots}")
    recipe = config["recipe"]
    rows = [recipe.get("epochs", {}), *recipe.get("strategies", {}).values()]
    named = {task for row in rows for task in row} & set(choices(CONF, "task"))
    other = min(set(choices(CONF, "task")) - named)  # a recipe tells those apart that it names
    for strategy in strategy_names():
        for task in {*named, other}:
            settings = resolve_settings(config["training"], config["recipe"], config["shots"], strategy, task)
            assert 1e-6 < settings.learning_rate < 1
            assert (settings.batch_size is None) == (shots == "16")


# Table 5 of arXiv 2305.04573, columns QNLI, SST-2, MNLI, CoLA, MRPC, STS-B, RTE, QQP; batch size / learning rate.
TABLE_5 = {
    "full": "32/2e-5 32/1e-5 48/2e-5 32/1e-5 32/2e-5 32/2e-5 32/2e-5 32/2e-5",
    "diff-pruning": "32/2e-5 32/5e-5 48/1e-5 32/1e-5 32/1e-5 32/1e-5 32/1e-5 32/2e-5",
    "child-tuning": "16/2e-5 16/4e-5 16/2e-5 16/4e-5 16/4e-5 16/4e-5 16/4e-5 16/4e-5",
    "adapter": "32/3e-4 32/1e-4 48/3e-4 32/3e-4 32/2e-4 32/2e-4 32/3e-4 32/3e-4",
    "bitfit": "32/2e-4 32/4e-4 48/1e-4 32/4e-4 32/2e-3 32/1e-4 32/1e-4 32/4e-4",
    "lora": "32/3e-4 32/2e-4 32/2e-4 32/3e-4 32/1e-4 32/3e-4 32/3e-4 32/2e-4",
    "compacter": "32/3e-3 32/3e-3 48/3e-3 32/8e-4 32/2e-3 32/3e-3 32/1e-3 32/3e-3",
    "prefix": "32/3e-4 32/3e-4 32/5e-4 32/3e-4 32/2e-4 32/3e-4 32/3e-4 32/3e-4",
    "hifi": "32/2e-4 32/2e-4 32/2e-4 16/1e-4 16/1e-4 16/2e-4 16/2e-4 32/1e-4",
    "hifi-mid-top": "32/1e-4 32/2e-4 32/2e-4 16/3e-4 16/2e-4 16/3e-4 16/2e-4 32/2e-4",
}


@pytest.mark.parametrize("strategy", TABLE_5)
def test_bert_large_has_the_papers_batch_sizes_and_learning_rates(strategy):
    config = composed("+strategy=hifi", "backbone=bert-large")
    for task, cell in zip(GLUE, TABLE_5[strategy].split(), strict=True):
        settings = resolve_settings(config["training"], config["recipe"], config["shots"], strategy, task)
        batch_size, rate = cell.split("/")
        assert (settings.batch_size, settings.learning_rate) == (int(batch_size), float(rate)), task


def test_what_a_user_gives_goes_before_the_recipe():
    config = composed("+strategy=hifi", "training.learning_rate=1e-6", "training.batch_size=7")
    settings = resolve_settings(config["training"], config["recipe"], config["shots"], "hifi", "rte")
    assert (settings.learning_rate, settings.batch_size, settings.epochs) == (1e-6, 7, 10)


# What an experiment of the paper sweeps over, and how many runs that is on one task.
SWEEPS = {
    "table2-full": {"seed": 6, "task": 8},
    "table2-few": {"seed": 6, "task": 7},
    "table3": {"strategy.score": 6, "seed": 6},
    "table6": {"task": 2, "seed": 6},
    "ranking": {"seed": 30, "strategy.score": 8},
    "methods": {"seed": 16},
    "allocation": {"seed": 16, "strategy.allocation": 5},
    "fig3": {"robustness.setting": 5, "strategy.score_after_steps": 2, "seed": 3},
    "fig8-11": {"robustness.setting": 5, "strategy.score_after_steps": 1, "seed": 3},
    "fig4": {"seed": 3},
    "fig5": {"task": 4, "seed": 1},
    "fig6": {"strategy.k": 8, "seed": 6, "task": 4},
    "fig6-d": {"strategy.d": 10, "seed": 1, "task": 4},
    "search": {"search.trial": 5, "task": 2, "seed": 1},
}


@pytest.mark.parametrize("name", SWEEPS)
def test_an_experiment_sweeps_in_a_folder_of_its_own_over_choices_that_exist(name):
    hydra = yaml.safe_load((CONF / "experiment" / f"{name}.yaml").read_text())["hydra"]
    assert (hydra["mode"], hydra["sweep"]["dir"]) == ("MULTIRUN", f"multirun/{name}")
    params = {key: str(value).split(",") for key, value in hydra["sweeper"]["params"].items()}
    assert {key: len(values) for key, values in params.items() if key != "+strategy"} == SWEEPS[name]
    assert set(params.get("task", [])) <= set(choices(CONF, "task"))


@pytest.mark.parametrize("name", SWEEPS)
def test_an_experiment_composes_with_any_task_backbone_and_data(name):
    hydra = yaml.safe_load((CONF / "experiment" / f"{name}.yaml").read_text())["hydra"]
    base = ["strategy=bitfit"] if "+strategy" in hydra["sweeper"]["params"] else []
    config = composed(*base, f"experiment={name}", "task=qnli", "backbone=tiny", "data.root=here")
    assert (config["task"]["name"], config["backbone"]["name"], config["data"]["root"]) == ("qnli", "tiny", "here")
    assert config["shots"]["per_class"] == (16 if name == "table2-few" else None)


# Section 5.1: what each setting is, and the one thing in which it differs from the standard.
SECTION_5_1 = {
    "ST": (32, 2e-5, 128, 300),
    "BS": (16, 2e-5, 128, 300),
    "LR": (32, 5e-5, 128, 300),
    "SL": (32, 2e-5, 64, 300),
    "SS": (32, 2e-5, 128, 1000),
}


@pytest.mark.parametrize("experiment", ["fig3", "fig8-11"])
@pytest.mark.parametrize("setting", SECTION_5_1)
def test_heads_are_scored_in_the_papers_settings(experiment, setting):
    config = composed(f"experiment={experiment}", f"robustness.setting={setting}")
    strategy = config["strategy"]
    found = (strategy["batch_size"], strategy["score_learning_rate"], config["data"]["max_length"], strategy["n"])
    assert found == SECTION_5_1[setting]
    assert (config["task"]["name"], config["backbone"]["name"]) == ("mrpc", "bert-base")


def test_table6_has_the_papers_tasks_methods_and_epochs():
    swept = yaml.safe_load((CONF / "experiment" / "table6.yaml").read_text())["hydra"]["sweeper"]["params"]
    assert swept["task"] == "squad,swag"
    assert len(swept["+strategy"].split(",")) == 9
    assert set(swept["+strategy"].split(",")) <= set(strategy_names())
    for task, length in (("squad", 384), ("swag", 128)):
        config = composed("+strategy=hifi", "experiment=table6", f"task={task}")
        assert (config["trainer"]["max_epochs"], config["data"]["max_length"]) == (3, length)


def test_what_older_records_are_taken_to_have_done_is_what_a_run_does_by_default():
    theirs = {"strategy.parameters": "lora", "strategy.layer_norms": "compacter", "strategy.decay": "adapterbias"}
    for name, value in LEGACY_DEFAULTS.items():
        settings = experiment_settings(composed(f"+strategy={theirs.get(name, 'hifi')}"))
        assert settings[name] == value, name


ORIGINALS = sorted(path.stem for path in (CONF / "strategy" / "original").glob("*.yaml"))


@pytest.mark.parametrize("name", ORIGINALS)
def test_the_originals_settings_are_those_of_a_strategy_and_of_its_training(name):
    config = composed(f"+strategy=original/{name}", "task=rte")
    method = config["strategy"]["name"]
    assert method == ("prefix" if name == "p-tuning-v2" else name)
    usual, found = (experiment_settings(of) for of in (composed(f"+strategy={method}", "task=rte"), config))
    assert found.keys() == usual.keys()
    changed = {option for option in usual if found[option] != usual[option]}
    assert {option.partition(".")[0] for option in changed} <= {"strategy", "training", "trainer"}
    make_parts(config)  # all of them are allowed


# Weights, decay and warm-up (a share, or steps) of the originals' code, on a backbone that it or the paper names.
@pytest.mark.parametrize(
    ("name", "config", "tuned", "decay", "warmup"),
    [
        ("adapter", BERT_LARGE, 6_343_680 + 100_352, 0.01, 0.1),
        ("bitfit", BERT_LARGE, 272_384, 0.0, 0.0),
        ("compacter", BERT_LARGE, 152_128 + 100_352, 0.0, 500),
        ("adapterbias", BERT_LARGE, 174_104, 0.01, 0.0),
        ("lora", BERT_LARGE, 786_432, 0.1, 0.06),
        ("p-tuning-v2", BERT_LARGE, 983_040, 0.0, 0.0),
        ("adapterdrop", BERT_LARGE, 3_171_840, 0.0, 0.0),
        ("ia3", BERT_LARGE, 147_456, 0.0, 0.06),
        ("prompt", BERT_LARGE, 100 * 1024, 1e-5, 0.0),
        ("jola", BERT_LARGE, 384 * (64 + 64 + 2), 0.0, 50),  # a scale, an offset and two gates for each head
        # 16 embeddings, an MLP of 800 to keys and values of 12 layers; bottlenecks of 16.
        ("mam", ROBERTA_BASE, 16 * 768 + 769 * 800 + 801 * 12 * 2 * 768 + 304_320, 0.1, 0.06),
    ],
)
def test_the_originals_tune_what_their_authors_tuned(name, config, tuned, decay, warmup):
    given = composed(f"+strategy=original/{name}")
    options, training = dict(given["strategy"]), given["training"]
    with torch.device("meta"):
        assert create_strategy(options.pop("name"), options).attach(shape_of(config)).num_tuned() == tuned
    assert decay_and_warmup(training) == (decay, warmup)


@pytest.mark.parametrize(
    ("name", "options", "decay", "warmup", "schedule"),
    [
        ("s2ft", {"heads": 0.052, "rows": ["o"], "down": 0.02}, 0.0, 100, "linear"),
        ("lofit", {"heads": 0.1, "select_epochs": 5}, 0.0, 0.0, "linear"),
    ],
)
def test_the_originals_that_choose_heads_have_their_authors_settings(name, options, decay, warmup, schedule):
    given = composed(f"+strategy=original/{name}")
    assert given["strategy"].items() >= options.items()
    assert decay_and_warmup(given["training"]) == (decay, warmup)
    assert given["training"]["schedule"] == schedule


def decay_and_warmup(training):
    return training["weight_decay"], training["warmup_steps"] or training["warmup"]


def test_what_is_typed_comes_before_the_originals_settings():
    config = composed("+strategy=original/lora", "strategy.r=4", "strategy.alpha=3", "training.weight_decay=0.5")
    assert (config["strategy"]["r"], config["strategy"]["alpha"], config["training"]["weight_decay"]) == (4, 3, 0.5)
