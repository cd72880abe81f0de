"""Hydra's and OmegaConf's errors, told in one line to the person who made the mistake."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from peftlab.arguments import groups as groups_in
from peftlab.errors import nearest
from peftlab.hydra_internals import compose_apart, first_values
from peftlab.search_path import roots

# What Hydra raises for a mistake on the command line; it tells some of them, as a group without a name, by no class of
# its own.
MISTAKES = (HydraException, OmegaConfBaseException, ValueError, RecursionError)


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
    compose_apart(conf, first_values([a for a in arguments if "=" in a and not a.startswith("-")]))


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
    keys = _keys(OmegaConf.to_container(compose_apart(conf, chosen), resolve=False))
    known = sorted(groups) + [key for key in keys if not key.startswith("recipe.")]
    same_group = [key for key in known if key.rpartition(".")[0] == name.rpartition(".")[0]]
    allowed = f"; allowed are {', '.join(same_group)}" if same_group else ""
    return f"{name}: no such option{nearest(name, known)}{allowed}"


def _keys(config: Any, prefix: str = "") -> Iterator[str]:
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"
