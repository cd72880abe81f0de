"""A configuration becomes a plan: typed parts, each checked before anything costly begins, and what the run is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lightning import Callback

from peftlab.backbones.architecture import architecture
from peftlab.backbones.loading import Backbone, content_hashes, model_type
from peftlab.backbones.modality import longest_text
from peftlab.backbones.spec import BackboneSpec
from peftlab.cache import RunCache
from peftlab.data.raw_splits import RawSplits, read_raw_splits
from peftlab.errors import SkippedError, require
from peftlab.identity import Identity, identify, run_settings
from peftlab.options.schema import build, checked
from peftlab.registry import load_plugins
from peftlab.run_config import DataOptions, DeploymentOptions, RunConfig
from peftlab.strategies.contract import Strategy
from peftlab.strategies.registry import create_strategy
from peftlab.tasks.kind import TaskKind, kind_of
from peftlab.tasks.sources.own import own_task
from peftlab.tasks.task import Task
from peftlab.training.arguments import check_sharding, check_trainer
from peftlab.training.own_callbacks import own_callbacks
from peftlab.training.precision import check_kept
from peftlab.training.settings import LOSS, TrainingSettings, resolve_settings


@dataclass(frozen=True)
class Parts:
    """What a configuration asks for, typed and checked; the task's data is not read yet and no model is loaded.

    Attributes:
        config: the configuration as it was resolved, for the record and for loggers; in the task of a user's own files
            stands what they say of it.
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
        callbacks: the user's own, in the order in which they act.
        run_settings: all settings that reach a number, by dotted name.
        identity: the hashes of all that defines the run.
    """

    raw: RawSplits
    callbacks: list[Callback]
    run_settings: Mapping[str, Any]
    identity: Identity


def make_parts(config: Mapping[str, Any]) -> Parts:
    """Return the parts of a run, every option of theirs checked; of the data a user's own training file alone is read.

    Raises:
        UserError: an option that is unknown, missing or out of its range.
    """
    load_plugins(checked(config.get("plugins", []), list[str], "plugins"))
    config = {**config, "task": own_task(config["task"], config["data"])}
    given = build(RunConfig, config, "")
    kind = kind_of(given.task)
    options = {name: value for name, value in given.strategy.items() if name != "name"}
    strategy = create_strategy(given.strategy["name"], options)
    settings = resolve_settings(given.training, given.recipe, config["shots"], strategy.recipe, given.task.name)
    check_trainer(given.trainer, settings.epochs)
    check_sharding(given.trainer, strategy.name, strategy.traits, settings)
    require(
        strategy.traits.compilable or settings.compile is None,
        f"training.compile={settings.compile}: allowed is null, {strategy.name} cannot be compiled",
    )
    _check_best_by(settings.best_by, kind)
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
    check_kept(parts.spec, parts.given.trainer, parts.settings.compile)
    # A backbone that is not there, not known, or has no output layer for the task, is told before data is fetched.
    backbone, family = content_hashes(parts.spec), architecture(model_type(parts.spec))
    family.output_names(parts.kind.output_layer.auto_class)
    raw = read_raw_splits(parts.task, parts.data.folder, cache)
    settings = run_settings(parts.config, parts.strategy, parts.settings)
    callbacks = own_callbacks(parts.given.trainer.get("callbacks"))
    identity = identify(settings, raw.hashes, backbone, parts.strategy, parts.kind, family, *callbacks)
    return Plan(**vars(parts), raw=raw, callbacks=callbacks, run_settings=settings, identity=identity)


def _check_best_by(metric: str | None, kind: TaskKind) -> None:
    names = [*kind.task.metrics, LOSS]
    more = f"; task.metrics=[{','.join([*kind.task.metrics, str(metric)])}] adds it" if metric in kind.metrics else ""
    require(metric in (None, *names), f"training.best_by={metric}: allowed are {', '.join(names)}{more}")


def check_fit(plan: Parts, backbone: Backbone) -> None:
    """Refuse a strategy that does not fit the backbone, or leaves no room for the texts.

    Raises:
        SkippedError: the method does not fit this backbone or this kind of task.
        UserError: one of its options does not, or as `check_length`.
    """
    reason = plan.strategy.skip(backbone.view, plan.kind)
    if reason is not None:
        raise SkippedError(f"strategy {plan.strategy.name} does not fit backbone {backbone.name}: {reason}")
    fitted = plan.strategy.fitted(backbone)
    fitted.check(backbone)
    check_length(plan, fitted, backbone)


def check_length(plan: Parts, fitted: Strategy, backbone: Backbone) -> None:
    """Refuse texts for which a strategy that takes positions leaves no room.

    Args:
        plan: says how long the texts are.
        fitted: the plan's strategy, fitted to the backbone.
        backbone: has the positions.

    Raises:
        UserError: `data.max_length`, or `deployment.length` where it is used, and the strategy's positions are more
            than the backbone has.
    """
    reserved, positions = fitted.traits.prompt_positions, longest_text(backbone.processor)
    if positions is None:
        return
    lengths = {"data.max_length": plan.data.max_length} if reserved else {}
    if plan.deployment.measure:
        lengths["deployment.length"] = plan.deployment.length
    for name, length in lengths.items():
        require(
            length <= positions - reserved,
            f"{name}={length}: strategy {plan.strategy.name} takes {reserved} of the {positions} "
            f"positions of backbone {backbone.name}; allowed is up to {max(0, positions - reserved)}",
        )
