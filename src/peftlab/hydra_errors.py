"""Hydra's and OmegaConf's errors, told in one line to the person who made the mistake."""

import re
from collections.abc import Iterator
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from peftlab.arguments import groups as groups_in
from peftlab.errors import nearest
from peftlab.search_path import roots


def in_one_line(error: Exception, arguments: list[str], conf: Path) -> str:
    """Return an error's message as one line, with the nearest allowed names where one was misspelt."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_choice(error, arguments)
    text = " ".join(_messages(error))
    if match := re.search(r"Could not override '(\S+?)'", text) or re.search(r"Key '(\S+)' is not in struct", text):
        return _unknown_option(match.group(1), arguments, conf)
    return " ".join(text.split())


def check_first_job(arguments: list[str], conf: Path) -> None:
    """Compose the first job of a sweep: Hydra finds a misspelt option only after it has made the sweep's folder.

    A sweep over glob(...), or one that an experiment holds, is left to Hydra.

    Raises:
        HydraException: what Hydra itself would raise later.
    """
    if "-m" not in arguments or any(re.match(r"experiment=|.*=.*glob\(", argument) for argument in arguments):
        return
    overrides = OverridesParser.create().parse_overrides([a for a in arguments if "=" in a and not a.startswith("-")])
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        compose("config", overrides=[_first(override) for override in overrides])
    GlobalHydra.instance().clear()


def _first(override: Override) -> str:
    """Return an override with the first of the values that it sweeps over."""
    if not override.is_discrete_sweep():
        return str(override.input_line)
    return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"


def _missing_choice(error: MissingConfigException, arguments: list[str]) -> str:
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    options = sorted(error.options or [])
    there = f"; there are {', '.join(options)}" if options else ""
    if group == "recipe" and not any(argument.startswith("recipe=") for argument in arguments):
        return (
            f"backbone={choice}: there is no recipe of its name: add recipe=NAME, one of {', '.join(options)}, "
            f"or write recipe/{choice}.yaml beside backbone/{choice}.yaml"
        )
    return f"{group or '--config-name'}={choice}: no such choice{nearest(choice, options)}{there}"


def _messages(error: BaseException) -> Iterator[str]:
    yield str(error)
    if isinstance(error.__cause__, HydraException | OmegaConfBaseException):
        yield str(error.__cause__).splitlines()[0]


def _unknown_option(name: str, arguments: list[str], conf: Path) -> str:
    """Compose again with the chosen groups alone, and look for the nearest option in what comes out."""
    groups = groups_in(roots(conf))
    chosen = [a for a in arguments if a.partition("=")[0].lstrip("+") in groups and "," not in a]
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        keys = _keys(compose("config", overrides=chosen))
        known = sorted(groups) + [key for key in keys if not key.startswith("recipe.")]
    same_group = [key for key in known if key.rpartition(".")[0] == name.rpartition(".")[0]]
    allowed = f"; allowed are {', '.join(same_group)}" if same_group else ""
    return f"{name}: no such option{nearest(name, known)}{allowed}"


def _keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    for name in map(str, config):
        value = config._get_node(name)
        if isinstance(value, DictConfig) and not value._is_none():
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
