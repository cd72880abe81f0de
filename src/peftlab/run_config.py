"""A run's configuration, typed: what is wrong with it is told before torch is imported, which takes seconds."""

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_origin, get_type_hints

from peftlab.backbones.spec import BackboneSpec, folder_name
from peftlab.errors import require, shown
from peftlab.options.schema import build
from peftlab.redaction import holds_secret
from peftlab.results.plausible import check_name
from peftlab.results.stated import StatedPlan
from peftlab.tasks.task import Task
from peftlab.training.settings import CheckpointOptions, check_given

SEEDS = 2**32  # NumPy's generators take no larger one


@dataclass(frozen=True)
class ShotsOptions:
    """`conf/shots`: examples a class (None: the full training set) and epochs (None: from the recipe).

    `batch_size` counts where `per_class` does; None: all shots are one batch (App. A.3).
    """

    per_class: int | None
    epochs: int | None
    batch_size: int | None = None


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
    train: str | None = None
    validation: str | float | None = None
    test: str | None = None
    text: list[str] | None = None
    label: str | None = None
    keep_predictions: bool = True

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
class LoggerOptions:
    """`conf/logger`: where metrics go; all but the name are for W&B (`training/wandb_run.py`)."""

    name: str | None
    project: str | None = None
    entity: str | None = None
    delta: bool = True
    offline: bool | None = None


@dataclass(frozen=True)
class SearchOptions:
    """What `experiment=search` sweeps over: rates by strategy, and which of them; other options refer to it."""

    trial: int
    rates: Mapping[str, Any]
    draw: Literal["grid", "log-uniform"] = "grid"


@dataclass(frozen=True)
class RobustnessOptions:
    """What `experiment=fig3` sweeps over: settings by the paper's names, and which of them; others refer to it."""

    setting: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class RunConfig:
    """`conf/config.yaml` and its groups, typed; what stays a table is read by its owner."""

    task: Task
    strategy: Mapping[str, Any]
    backbone: BackboneSpec
    shots: ShotsOptions
    trainer: Mapping[str, Any]
    logger: LoggerOptions
    recipe: Mapping[str, Any]
    training: Mapping[str, Any]
    data: DataOptions
    checkpoint: CheckpointOptions
    deployment: DeploymentOptions
    seed: int
    force: bool
    any_code: bool
    wait: bool = True
    search: SearchOptions | None = None
    robustness: RobustnessOptions | None = None
    plan: StatedPlan | None = None
    plugins: list[str] = field(default_factory=list)


def _is_group(kind: Any) -> bool:
    return is_dataclass(kind) or get_origin(kind) is Mapping


OWN = ("train", "validation", "test", "text", "label")  # of `DataOptions`: what own files are, and their columns
GROUPS = [name for name, kind in get_type_hints(RunConfig).items() if _is_group(kind)]
REQUIRED = [f.name for f in fields(RunConfig) if f.default is MISSING and f.default_factory is MISSING]


def read_config(config: Mapping[str, Any]) -> RunConfig:
    """Return a configuration typed; what only the strategy, the data or the weights know is not looked at.

    Raises:
        UserError: a group that is none, an option that is unknown or of another type, a value out of its range, a
            folder that is not there.
    """
    check_identity(config)
    given = build(RunConfig, config, "")
    check_given(given.training)
    _check_own(given)
    root, path = given.data.folder, given.backbone.folder
    require(root is None or given.task.generator is not None or root.is_dir(), f"data.root={root}: no such folder")
    require(path is None or path.is_dir(), f"backbone.path={path}: no such folder")
    return given


def _check_own(given: RunConfig) -> None:
    """Refuse a user's own files where another task would not read them, and a release's folder where they are read."""
    found = [name for name in OWN if getattr(given.data, name) is not None]
    if given.task.own is None:
        brings = f"task={given.task.name} brings its own; allowed with task=text, tokens, choice, questions or images"
        require(not found, f"data.{''.join(found[:1])}: {brings}")
    else:
        require("train" in found, f"data.train: missing; task={given.task.name} reads it, as data.train=my.csv")
        require(given.data.root is None, f"data.root: task={given.task.name} reads data.train; leave data.root out")


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
        # A folder of weights has a name of its own.
        if not (group == "backbone" and config[group]["name"] is None and folder_name(config[group])):
            name = config[group]["name"]
            check_name(name, f"{group}.name")
            _check_new_name(name, f"{group}.name")
    seed = config["seed"]
    require(type(seed) is int and 0 <= seed < SEEDS, f"seed={seed}: allowed are whole numbers from 0 to {SEEDS - 1}")
    build(ShotsOptions, config["shots"], "shots")


def _check_new_name(name: str, where: str) -> None:
    """Refuse names that would lead out of a folder, or tell a secret wherever a run is named."""
    require(not set(name) & set("/\\") and name not in (".", ".."), f"{where}={name}: allowed is a name, no path")
    require(not holds_secret(name), f"{where}: a key, token or password of the environment is no name")
