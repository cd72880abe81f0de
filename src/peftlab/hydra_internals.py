"""What of Hydra is used here though Hydra does not promise it: all of it, so that an upgrade is looked at in one place.

`tests/test_hydra_internals.py` says what breaks where one of these names is gone.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.plugins.plugin import Plugin
from omegaconf import DictConfig

# The entries of the group `hydra`.
HYDRA_OPTIONS = [field.name for field in fields(HydraConf)]

__all__ = [
    "HYDRA_OPTIONS",
    "FileConfigSource",
    "compose_apart",
    "compose_job",
    "first_values",
    "flag_parser",
    "forget_hydra",
    "jobs_of",
    "override_values",
    "register_plugin",
    "share_config_store",
]


def flag_parser() -> ArgumentParser:
    """Return the parser of Hydra's own flags."""
    return get_args_parser()


def first_values(overrides: Sequence[str]) -> list[str]:
    """Return the overrides of a sweep's first job: of each the first value that it sweeps over.

    Raises:
        HydraException: one of them is not of Hydra's grammar.
    """
    return [_first(override) for override in OverridesParser.create().parse_overrides(list(overrides))]


def override_values(overrides: Sequence[str]) -> list[Any]:
    """Return the values that overrides give, as Python has them.

    Raises:
        HydraException: one of them is not of Hydra's grammar.
    """
    return [override.value() for override in OverridesParser.create().parse_overrides(list(overrides))]


def jobs_of(hydra: DictConfig) -> list[list[str]] | None:
    """Return the overrides of each run of a sweep, given the node `hydra` of its configuration.

    None if only its sweeper knows.
    """
    if hydra.sweeper.get("_target_") != f"{BasicSweeper.__module__}.{BasicSweeper.__name__}":
        return None
    swept = [f"{name}={value}" for name, value in (hydra.sweeper.params or {}).items()]
    parser = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
    overrides = parser.parse_overrides([*swept, *hydra.overrides.task])
    return [list(job) for batch in BasicSweeper.split_arguments(overrides, None) for job in batch]


def compose_job(sweep: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """Return the configuration of one run of a sweep that is at work, given that of the sweep: what launchers do."""
    return GlobalHydra.instance().config_loader().load_sweep_config(sweep, list(overrides))


def register_plugin(plugin: type[Plugin]) -> None:
    """Let Hydra use a class of ours, a source of configuration or what changes the search path."""
    Plugins.instance().register(plugin)


def share_config_store() -> None:
    """Spare Hydra a copy of its configuration store at each question that it asks itself.

    It copies the whole store with its list of sources, a hundred times for one `--help`, although what it reads from
    the store is a copy already. Half the time of `--help` went there.
    """
    ConfigStore.__deepcopy__ = lambda store, memo: store  # type: ignore[attr-defined]


def compose_apart(conf: Path, overrides: Sequence[str]) -> DictConfig:
    """Return what the configuration in the folder `conf` becomes; Hydra is then as if nobody had asked.

    Raises:
        HydraException: an override that does not fit.
    """
    forget_hydra()
    with initialize_config_dir(str(conf), version_base="1.3"):
        config = compose("config", overrides=list(overrides))
    forget_hydra()
    return config


def forget_hydra() -> None:
    """Let Hydra begin another command in this process."""
    GlobalHydra.instance().clear()


def _first(override: Override) -> str:
    value = override.value()
    if isinstance(value, IntervalSweep):  # of a sweeper that searches, as Optuna's
        return f"{override.get_key_element()}={value.start}"
    if not override.is_discrete_sweep():
        return str(override.input_line)
    return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"
