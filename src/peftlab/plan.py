"""A configuration becomes a plan: typed parts, each checked before anything costly begins, and what the run is."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from peftlab.backbones.architecture import architecture
from peftlab.backbones.loading import Backbone, BackboneSpec, content_hashes, model_type
from peftlab.cache import RunCache
from peftlab.data.raw_splits import RawSplits, read_raw_splits
from peftlab.errors import require, shown
from peftlab.identity import Identity, identify, run_settings
from peftlab.options.schema import build, checked
from peftlab.registry import load_plugins
from peftlab.results.plausible import check_name
from peftlab.strategies.contract import Strategy
from peftlab.strategies.registry import create_strategy
from peftlab.tasks.kind import TaskKind, kind_of
from peftlab.tasks.task import Task
from peftlab.training.arguments import check_trainer
from peftlab.training.resumption import CheckpointOptions
from peftlab.training.settings import TrainingSettings, resolve_settings

SEEDS = 2**32  # NumPy's generators take no larger one


@dataclass(frozen=True)
class ShotsOptions:
    """`conf/shots`: examples a class (None: the full training set) and epochs (None: from the recipe)."""

    per_class: int | None
    epochs: int | None


@dataclass(frozen=True)
class DataOptions:
    """The group `data` of `conf/config.yaml`; what sizes a tokenizer and a task allow, `TaskData` checks."""

    root: str | None
    max_length: int
    eval_batch_size: int
    num_workers: int
    length_grouped: bool
    holdout: float | None
    cache_dir: str | None

    def __post_init__(self) -> None:
        require(self.num_workers >= 0, f"data.num_workers={self.num_workers}: allowed is 0 or more")

    @property
    def folder(self) -> Path | None:
        """Return the folder of the task's files, None for the Hub."""
        return Path(self.root).expanduser() if self.root else None

    @property
    def cache(self) -> Path | None:
        """Return where tokens are kept on disk, if at all."""
        return Path(self.cache_dir).expanduser() if self.cache_dir else None


@dataclass(frozen=True)
class DeploymentOptions:
    """The group `deployment` of `conf/config.yaml`: whether to measure the deployed model, and with which texts."""

    measure: bool
    batch_size: int
    length: int
    pairs: int

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, f"deployment.batch_size={self.batch_size}: allowed is 1 or more")
        require(self.length >= 1, f"deployment.length={self.length}: allowed is 1 or more")
        # Of five values not even the extremes hold the median with 95 % confidence.
        require(self.pairs >= 6, f"deployment.pairs={self.pairs}: allowed is 6 or more")


@dataclass(frozen=True)
class RunConfig:
    """`conf/config.yaml` and its groups, typed; what stays a table is read by its owner."""

    task: Task
    strategy: Mapping[str, Any]
    backbone: BackboneSpec
    shots: ShotsOptions
    trainer: Mapping[str, Any]
    logger: Mapping[str, Any]
    recipe: Mapping[str, Any]
    training: Mapping[str, Any]
    data: DataOptions
    checkpoint: CheckpointOptions
    deployment: DeploymentOptions
    seed: int
    force: bool
    any_code: bool
    search: Any = None
    robustness: Any = None
    plugins: list[str] = field(default_factory=list)


def _is_group(kind: Any) -> bool:
    return is_dataclass(kind) or get_origin(kind) is Mapping


GROUPS = [name for name, kind in get_type_hints(RunConfig).items() if _is_group(kind)]
REQUIRED = [f.name for f in fields(RunConfig) if f.default is MISSING and f.default_factory is MISSING]


@dataclass(frozen=True)
class Parts:
    """What a configuration asks for, typed and checked; no data is read yet and no model is loaded.

    Attributes:
        config: the configuration as it was resolved, for the record and for loggers.
        given: the same, typed.
        kind: the owner of everything from the task's rows to its score.
        strategy: how the backbone is tuned.
        settings: how it trains, the recipe's values among them.
    """

    config: Mapping[str, Any]
    given: RunConfig
    kind: TaskKind
    strategy: Strategy
    settings: TrainingSettings

    @property
    def task(self) -> Task:
        """What is to be learnt."""
        return self.given.task

    @property
    def spec(self) -> BackboneSpec:
        """The backbone."""
        return self.given.backbone

    @property
    def data(self) -> DataOptions:
        """How the splits are divided, encoded and batched."""
        return self.given.data

    @property
    def deployment(self) -> DeploymentOptions:
        """What is measured of the deployed model."""
        return self.given.deployment

    @property
    def seed(self) -> int:
        """What everything random is drawn from."""
        return self.given.seed


@dataclass(frozen=True)
class Plan(Parts):
    """The parts of a run, its data and what it is.

    Attributes:
        raw: the task's splits as their source has them.
        run_settings: all settings that reach a number, by dotted name.
        identity: the hashes of all that defines the run.
    """

    raw: RawSplits
    run_settings: Mapping[str, Any]
    identity: Identity


def make_parts(config: Mapping[str, Any]) -> Parts:
    """Return the parts of a run, every option of theirs checked.

    Raises:
        UserError: an option that is unknown, missing or out of its range.
    """
    load_plugins(checked(config.get("plugins", []), list[str], "plugins"))
    given = build(RunConfig, config, "")
    kind = kind_of(given.task)
    options = {name: value for name, value in given.strategy.items() if name != "name"}
    strategy = create_strategy(given.strategy["name"], options)
    settings = resolve_settings(given.training, given.recipe, config["shots"], strategy.recipe, given.task.name)
    check_trainer(given.trainer, settings.epochs)
    require(
        strategy.traits.compilable or settings.compile is None,
        f"training.compile={settings.compile}: allowed is null, {strategy.name} cannot be compiled",
    )
    return Parts(config, given, kind, strategy, settings)


def make_plan(config: Mapping[str, Any], cache: RunCache) -> Plan:
    """Return the plan of a run: its parts, the task's files read, the run identified; no model is loaded.

    Args:
        config: the resolved configuration (`conf/config.yaml` and its groups).
        cache: what the runs of this process share.

    Raises:
        UserError: as `make_parts`; data or a backbone's files that are missing.
    """
    parts = make_parts(config)
    # A backbone that is not there, or not known, is told before data is fetched.
    backbone, family = content_hashes(parts.spec), architecture(model_type(parts.spec))
    raw = read_raw_splits(parts.task, parts.data.folder, cache)
    settings = run_settings(config, parts.strategy, parts.settings)
    identity = identify(settings, raw.hashes, backbone, parts.strategy, parts.kind, family)
    return Plan(**vars(parts), raw=raw, run_settings=settings, identity=identity)


def check_identity(config: Mapping[str, Any]) -> None:
    """Check that each group is one, and what a run's record is filed by: task, strategy and backbone, seed and shots.

    Raises:
        UserError: a value where a group is expected, a name that is none, a seed outside [0, 2**32), shots that are no
            number.
    """
    for name in REQUIRED:
        require(name in config, f"{name}: missing")
    for group in GROUPS:
        one = f"{group}={shown(config[group], 60)}: {group} is a group of options; give one, as {group}.OPTION=VALUE"
        require(isinstance(config[group], Mapping), one)
    for group in ("task", "strategy", "backbone"):
        require("name" in config[group], f"{group}.name: missing")
        check_name(config[group]["name"], f"{group}.name")
    seed = config["seed"]
    require(type(seed) is int and 0 <= seed < SEEDS, f"seed={seed}: allowed are whole numbers from 0 to {SEEDS - 1}")
    build(ShotsOptions, config["shots"], "shots")


def check_length(plan: Parts, backbone: Backbone) -> None:
    """Refuse texts for which a strategy that takes positions leaves no room.

    Raises:
        UserError: `data.max_length`, or `deployment.length` where it is used, and the strategy's positions are more
            than the backbone has.
    """
    reserved, positions = plan.strategy.traits.prompt_positions, backbone.tokenizer.model_max_length
    lengths = {"data.max_length": plan.data.max_length} if reserved else {}
    if plan.deployment.measure:
        lengths["deployment.length"] = plan.deployment.length
    for name, length in lengths.items():
        require(
            length <= positions - reserved,
            f"{name}={length}: strategy {plan.strategy.name} takes {reserved} of the {positions} "
            f"positions of backbone {backbone.name}; allowed is up to {max(0, positions - reserved)}",
        )
