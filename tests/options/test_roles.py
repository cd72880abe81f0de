"""Every option, one by one: ids, tables, resuming and a sweep's folders say of it what its role says."""

import copy
import dataclasses
import json
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from models import write_backbone
from peftlab import resolvers
from peftlab.arguments import choices, normalise
from peftlab.backbones.architecture import architecture
from peftlab.backbones.loading import content_hashes, model_type
from peftlab.cli import CONF
from peftlab.errors import MissingPackageError, UserError
from peftlab.identity import Identity, identify, run_settings
from peftlab.options.roles import ROLES, Role, flatten, folder_digest, role_of
from peftlab.plan import make_parts
from peftlab.recording import recorded_config
from peftlab.results.settings import comparable
from peftlab.strategies.registry import create_strategy, strategy_names
from peftlab.training.checkpoint_files import SafeCheckpoints
from peftlab.training.resumption import FILE_NAME, FOLDER, seconds_taken
from runs import composed

Config = dict[str, Any]

# Another value that is allowed, where adding one, halving or negating does not give it.
OTHER: dict[str, Any] = {
    "training.schedule": "cosine",
    "trainer.callbacks": [{"_target_": "lightning.pytorch.callbacks.Timer"}],
    "task.labels": ["not_entailment", "entailment"],
    "task.metrics": ["f1"],
    "task.range": [0.0, 4.0],
    "task.kind": "cloze",
    "task.files.format": "csv",
    "backbone.attention": "eager",
    "backbone.dtype": "bfloat16",
    "backbone.quantize": "nf4",
    "backbone.random.model_type": "roberta",
    "shots.per_class": 4,
    "shots.epochs": 7,
    "shots.batch_size": 8,
    "training.learning_rate": 0.5,
    "training.batch_size": 8,
    "training.compile": "eager",
    "trainer.accelerator": "gpu",
    "trainer.devices": "auto",
    "trainer.strategy": "ddp",
    "trainer.precision": "bf16-mixed",
    "trainer.max_epochs": 9,
    "trainer.max_steps": 9,
    "trainer.min_epochs": 1,
    "trainer.min_steps": 1,
    "trainer.max_time": "00:01:00:00",
    "trainer.limit_train_batches": 0.5,
    "trainer.limit_val_batches": 0.5,
    "trainer.limit_test_batches": 0.5,
    "trainer.val_check_interval": 0.5,
    "trainer.overfit_batches": 1.0,
    "trainer.gradient_clip_algorithm": "norm",
    "trainer.deterministic": True,
    "trainer.benchmark": True,
    "trainer.profiler": "simple",
    "logger.offline": True,
    "data.holdout": 0.5,
    "data.text": ["premise"],
    "task.own": {"label": "gold"},
    "checkpoint.every_steps": 5,
    "checkpoint.trajectory": 3,
    "recipe": {"default": {"batch_size": 16, "learning_rate": 1e-3, "epochs": 1}, "strategies": {}, "name": "other"},
    "search": {"trial": 1, "rates": {}},
    "robustness": {"setting": "BS", "settings": {}},
    "plan": {"question": "Which?", "reference": "hifi", "pairs": 6, "difference": 1.0, "stop": "all are there"},
    "training.early_stopping": 3,
    "training.warmup_steps": 5,
    "training.best_by": "loss",
    "plugins": ["commands"],  # a module of the tests: it holds nothing that a run would use
    "hifi.score": "richness",
    "hifi.rows": ["v", "o"],
    "s2ft.rows": ["o"],
    "compacter.bottleneck": 64,
    "compacter.n": 8,
    "diff-pruning.upper": 2.0,
    "jola.upper": 2.0,
    "peft.options": {"r": 4},
    "peft.method": "ia3",
}
# The choice that has another allowed value of an option, where that is not the first that names it.
TRIED_IN = {"task.own": ("task", "text"), "task.kind": ("task", "multirc")}
# What a strategy's option stands beside, where it is not allowed alone.
BESIDE = {"tiny-attention": "strategy.size=2"}
# What the task of own files reads before it is one.
OWN = {"text": f"data.train={Path(__file__).parent / 'own.csv'}"}
DATA = {"train": "hash", "validation": "hash"}


class Answers(NamedTuple):
    """Whether another value of an option makes another ..."""

    id: bool
    settings_to_resume_with: bool
    row_of_a_table: bool
    folder: bool


def expected(role: Role) -> Answers:
    run = role.run != "no"
    # Weights and data that differ are no settings: a run of others begins anew.
    return Answers(run, run, role.method != "no", role.folder != "no")


def answers(before: Config, after: Config, option: str, folder: Path) -> Answers:
    """Ask the four of two configurations that differ in one option."""
    one, two = (identity_of(config) for config in (before, after))
    refusal = resumed(before, after, folder)
    assert refusal is None or refusal.startswith((option, "training.", "strategy.")), refusal
    begins_anew = not set(two.differs_from(dataclasses.asdict(one))) <= {"settings"}
    folders = [folder_digest(["task=rte", f"++{option}={value_of(config, option)}"]) for config in (before, after)]
    return Answers(
        id=one.id != two.id,
        settings_to_resume_with=refusal is not None or begins_anew,
        row_of_a_table=comparable(recorded_config(before)) != comparable(recorded_config(after)),
        folder=folders[0] != folders[1],
    )


def identity_of(config: Config) -> Identity:
    parts = make_parts(config)
    family = architecture(model_type(parts.spec))
    return identify(settings_of(config), DATA, content_hashes(parts.spec), parts.strategy, parts.kind, family)


def settings_of(config: Config) -> dict[str, Any]:
    parts = make_parts(config)
    return run_settings(config, parts.strategy, parts.settings)


def resumed(before: Config, after: Config, folder: Path) -> str | None:
    """Resume a run of other settings; return the line with which that is refused, None where it is not."""
    settings = json.dumps(settings_of(before))
    checkpoint = {"resumption": {"settings": settings, "seconds": 1.0}}
    SafeCheckpoints().save_checkpoint(checkpoint, folder / FOLDER / FILE_NAME)
    try:
        seconds_taken(folder, settings_of(after))
    except UserError as error:
        return str(error)
    return None


def value_of(config: Config, option: str) -> Any:
    found: Any = config
    for name in option.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def changed(config: Config, option: str, value: Any) -> Config:
    changed = copy.deepcopy(config)
    *above, last = option.split(".")
    table = changed
    for name in above:
        if not isinstance(table.get(name), dict):
            table[name] = {}
        table = table[name]
    table[last] = value
    return changed


def another(option: str, value: Any, kind: Any = None) -> Any:
    """Return another allowed value than `value`."""
    if option in OTHER:
        return OTHER[option]
    if get_origin(kind) is Literal:
        return next(choice for choice in get_args(kind) if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1 if isinstance(value, int) else (value / 2 or 0.5)
    if isinstance(value, list):
        return [f"other {item}" for item in value]
    return 1 if kind in (int | None, float | None) else "other"


@cache
def base(strategy: str = "hifi", group: str = "", choice: str = "") -> Config:
    """Return a configuration of a run, with one choice of one group."""
    chosen = f"{group}={choice}" if group not in ("", "strategy", "backbone") else ""
    task = "task=rte" if group != "task" else ""
    further = f"{BESIDE.get(strategy, '')} {OWN.get(choice, '')}"
    return composed(f"+strategy={strategy} {task} backbone=tiny trainer=cpu {chosen} {further}")


def options_of_groups() -> list[tuple[str, str, str]]:
    """Return group, choice and option: each option of the shipped files once, and those of the groups' dataclasses."""
    found: dict[str, tuple[str, str]] = {}
    for group in ("task", "backbone", "shots", "trainer", "logger"):
        for choice in choices(CONF, group):
            content = yaml.safe_load((CONF / group / f"{choice}.yaml").read_text()) or {}
            for name in flatten({group: {key: value for key, value in content.items() if key != "defaults"}}):
                found.setdefault(name, (group, choice))
    top = yaml.safe_load((CONF / "config.yaml").read_text())
    for name in flatten({key: value for key, value in top.items() if key not in ("defaults", "hydra")}):
        found.setdefault(name, ("", ""))
    found["recipe"] = "", ""
    return [(group, choice, option) for option, (group, choice) in {**found, **TRIED_IN}.items()]


@pytest.mark.parametrize(("group", "choice", "option"), options_of_groups(), ids=lambda part: part)
def test_the_four_say_of_an_option_what_its_role_says(group, choice, option, tmp_path):
    if option == "backbone.path":
        pytest.skip("counts by content: below")
    before = base("hifi", group, choice)
    if value_of(before, option) is None and group:
        given = value_of({group: yaml.safe_load((CONF / group / f"{choice}.yaml").read_text())}, option)
        before = changed(before, option, given)  # a backbone's place, which random weights have not
    after = changed(before, option, another(option, value_of(before, option)))
    assert after != before
    assert answers(before, after, option, tmp_path) == expected(role_of(option))


def options_of_strategies() -> list[tuple[str, str]]:
    found = []
    for strategy in strategy_names():
        content = yaml.safe_load((CONF / "strategy" / f"{strategy}.yaml").read_text())
        found += [(strategy, name) for name in content if name != "name"]
    return found


def class_or_skip(strategy: str) -> type:
    try:
        return type(create_strategy(strategy, {}))
    except MissingPackageError as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize(("strategy", "name"), options_of_strategies())
def test_the_four_say_it_of_a_strategys_option(strategy, name, tmp_path):
    cls = class_or_skip(strategy)
    (field,) = (field for field in dataclasses.fields(cls) if field.name == name)
    option, before = f"strategy.{name}", base(strategy)
    if field.metadata.get("path"):
        pytest.skip("counts by content: below")
    value = another(f"{strategy}.{name}", before["strategy"][name], get_type_hints(cls)[name])
    after = changed(before, option, value)
    assert after != before
    assert answers(before, after, option, tmp_path) == expected(Role.RUN) == expected(role_of(option))


def test_a_folder_of_weights_counts_by_what_they_are(tmp_path):
    folders = [tmp_path / name for name in ("here", "there", "other")]
    for seed, folder in zip((1, 1, 2), folders, strict=True):
        write_backbone(folder, seed=seed)
    here, there, other = (changed(base(), "backbone.path", str(folder)) for folder in folders)
    # Each is a folder of a sweep's own: before anything is read, nobody knows that they hold the same.
    assert answers(here, there, "backbone.path", tmp_path) == expected(Role.WEIGHTS)
    assert answers(here, other, "backbone.path", tmp_path) == Answers(True, True, False, True)


FILES = ("selection.json", "child_network.safetensors", "delta.json", "delta.safetensors")


@pytest.mark.parametrize("strategy", strategy_names())
def test_a_strategys_path_counts_by_content_in_the_id_and_by_name_where_it_is_shown(strategy, tmp_path):
    cls = class_or_skip(strategy)
    for name in (field.name for field in dataclasses.fields(cls) if field.metadata.get("path")):
        runs = [tmp_path / name / run for run in ("a", "b", "c")]
        for run in runs:
            run.mkdir(parents=True)
            for file in FILES:
                (run / file).write_text("other" if run.name == "c" else "same")
        first, same, other = (changed(base(strategy), f"strategy.{name}", str(run)) for run in runs)
        by_name = Answers(False, False, True, True)
        assert answers(first, same, f"strategy.{name}", tmp_path) == by_name
        assert answers(first, other, f"strategy.{name}", tmp_path) == expected(Role.CONTENT) == Answers(*[True] * 4)


NOWHERE, EVERYWHERE = Answers(*[False] * 4), Answers(*[True] * 4)
# What users rely on, whatever the list says.
KNOWN = [
    ("seed", 2, Answers(True, True, False, True)),
    ("strategy.k", 2, EVERYWHERE),
    ("trainer.precision", "bf16-mixed", EVERYWHERE),
    ("training.learning_rate", 0.5, EVERYWHERE),
    ("backbone.random.hidden_size", 64, EVERYWHERE),
    ("backbone.name", "mine", NOWHERE),
    ("data.root", "/elsewhere", NOWHERE),
    ("data.cache_dir", None, NOWHERE),
    ("deployment.measure", True, NOWHERE),
    ("checkpoint.trajectory", 3, NOWHERE),
    ("trainer.log_every_n_steps", 3, NOWHERE),
    ("trainer.profiler", "simple", NOWHERE),
    ("logger.name", "wandb", NOWHERE),
    ("force", True, NOWHERE),
    ("plugins", OTHER["plugins"], NOWHERE),
    # What they set is in the options that they set; what was typed differs.
    ("search", OTHER["search"], Answers(False, False, False, True)),
    ("recipe.strategies.lora.default.learning_rate", 0.5, Answers(False, False, False, True)),
    ("recipe.strategies.hifi.default.learning_rate", 0.5, Answers(True, True, False, True)),
]


@pytest.mark.parametrize(("option", "value", "known"), KNOWN)
def test_what_is_known_of_an_option_holds(option, value, known, tmp_path):
    assert answers(base(), changed(base(), option, value), option, tmp_path) == known


def test_what_is_listed_is_there():
    options = {option for _, _, option in options_of_groups()}
    for name in ROLES.keys() - {"plugins", "paths", "hydra", "experiment", "backbone.random"}:
        assert any(option == name or option.startswith(f"{name}.") for option in options), name


def subdir(typed: str) -> str:
    """Return the folder in which a sweep has the run of a command."""
    resolvers.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=normalise(typed.split()), return_hydra_config=True)
    return str(config.hydra.sweep.subdir)


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        ("seed=1 +strategy=hifi task=rte data.max_length=48", True),
        ("+strategy=hifi task=rte seed=1 data.max_length=48 data.root=here logger=tensorboard", True),
        ("+strategy=hifi task=rte seed=1 data.max_length=48 deployment.measure=true trainer.profiler=simple", True),
        ("+strategy=hifi task=rte seed=1 data.max_length=48 checkpoint.trajectory=2", True),
        ("+strategy=hifi task=rte seed=1 data.max_length=48 backbone.path=here", False),
        ("+strategy=hifi task=rte seed=1 data.max_length=49", False),
        ("+strategy=hifi task=rte seed=1 data.max_length=48 strategy.k=3", False),
        ("+strategy=hifi task=rte seed=1 data.max_length=48 experiment=table1", False),
    ],
)
def test_a_sweep_names_its_folders_by_what_makes_another_run(typed, same):
    assert (subdir("+strategy=hifi task=rte seed=1 data.max_length=48") == subdir(typed)) == same
