"""Where Hydra looks for configuration besides the laboratory's `conf/`: a user's folders, and those that plugins bring.

A user names folders by `--config-dir FOLDER` and `hydra.searchpath=[file://FOLDER]`; a package brings its folder
`conf`. All of them stand on Hydra's own search path, so that `--help`, shell completion and error messages know their
choices.
"""

import importlib.util
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml
from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import OmegaConf

from peftlab.errors import UserError, require
from peftlab.hydra_internals import FileConfigSource, override_values, register_plugin
from peftlab.options.schema import checked
from peftlab.registry import plugin_folders

# As `.hydra/hydra.yaml` names who put a folder on the search path.
USER, PLUGIN = "user", "plugin"
# What a folder that a run names, and not the user, may say of Hydra itself: where runs are written, what is swept over.
_HARMLESS = {"mode", "run", "sweep", "sweeper"}
_POWERFUL = re.compile(r"\b(hydra|plugins)\b|@")
# What refers to other options or to the moment, and to nothing of this machine: its environment, its files.
_REFERENCE = re.compile(r"\$\{(?:[\w.]+|(?:oc\.select|now|folder_digest|path_part|unique|searched_rate):[^${}]*)\}")


class ReplayedFolder(FileConfigSource):
    """A folder on the word of an earlier run, which may come from anywhere: its YAML may load no classes."""

    @staticmethod
    def scheme() -> str:
        """Return what stands before `://`."""
        return "replayed"

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a file; raises UserError where it would tell Hydra what to load or to run."""
        result = super().load_config(config_path)
        what = f"what {config_path} is" if _POWERFUL.search(config_path) else _power(result)
        if what:
            raise UserError(
                f"{self.path}/{config_path}: says {what}, which resume takes from no folder; "
                f"if it is yours, name it: --config-dir {self.path}"
            )
        return result


class UserFolders(SearchPathPlugin):
    """Puts the folders of this command on the search path, behind the laboratory's own."""

    folders: ClassVar[tuple[tuple[str, str], ...]] = ()

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Add who names a folder, and its address."""
        for provider, address in self.folders:
            search_path.append(provider, address)


def asks_for_more(text: str) -> bool:
    """Return whether an option's value asks for more than other options: a variable of the environment, say."""
    while text != (text := _REFERENCE.sub("x", text)):
        pass
    return "$" in text


def use(arguments: Sequence[str], conf: Path) -> None:
    """Let Hydra find what is in the folders that a command line, and the plugins in `conf/config.yaml`, name.

    Raises:
        UserError: a folder or a package that is not there.
    """
    named = [*_config_dirs(arguments), *_searched(arguments)]
    brought = [f"file://{folder}" for folder in plugin_folders(plugin_names(arguments, conf))]
    UserFolders.folders = (*((USER, address) for address in named), *((PLUGIN, address) for address in brought))
    for plugin in (ReplayedFolder, UserFolders):
        register_plugin(plugin)


def forget() -> None:
    """End a command: the folders that it named are no folders of the next one in this process."""
    UserFolders.folders = ()


def roots(conf: Path) -> list[Path]:
    """Return the folders that hold groups, the laboratory's first."""
    return [conf, *(Path(address.partition("://")[2]) for _, address in UserFolders.folders)]


def plugin_names(arguments: Sequence[str], conf: Path) -> list[str]:
    """Return the packages that a command line names by `plugins=[...]`, else those in `conf/config.yaml`."""
    values = _values("plugins", arguments)
    if not values:
        values = [(yaml.safe_load((conf / "config.yaml").read_text(encoding="utf-8")) or {}).get("plugins") or []]
    names: list[str] = checked(values[-1], list[str], "plugins")
    return names


def split_config_dirs(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the flags that name folders, each as one argument `--config-dir=FOLDER`, and all other arguments."""
    folders, rest, waiting = [], [], iter(arguments)
    for argument in waiting:
        name, equals, folder = argument.partition("=")
        if name in ("--config-dir", "-cd"):
            folders.append(f"--config-dir={folder if equals else next(waiting, '')}")
        else:
            rest.append(argument)
    return folders, rest


def _config_dirs(arguments: Sequence[str]) -> list[str]:
    folders = [flag.partition("=")[2] for flag in split_config_dirs(arguments)[0]]
    return [_address("file", folder, "--config-dir") for folder in folders]


def _searched(arguments: Sequence[str]) -> list[str]:
    found = []
    for value in _values("hydra.searchpath", arguments):
        for address in checked(value, list[str], "hydra.searchpath"):
            scheme, _, place = address.rpartition("://")
            known = scheme in ("", "file", "pkg", ReplayedFolder.scheme())
            require(known, f"hydra.searchpath={address}: allowed are file://FOLDER and pkg://PACKAGE")
            folder = _package_folder(place) if scheme == "pkg" else place
            found.append(_address(scheme.replace("pkg", "file") or "file", folder, "hydra.searchpath"))
    return found


def _address(scheme: str, folder: str, where: str) -> str:
    place = Path(folder).expanduser().absolute()
    require(bool(folder) and place.is_dir(), f"{where}={folder}: no such folder")
    return f"{scheme}://{place}"


def _package_folder(name: str) -> str:
    top, *below = name.replace("/", ".").split(".")
    spec = importlib.util.find_spec(top)
    places = (spec.submodule_search_locations if spec else None) or [""]
    return str(Path(places[0], *below)) if places[0] else ""


def _values(key: str, arguments: Sequence[str]) -> list[Any]:
    """Return what the command line gives to a key, each time."""
    overrides = [argument for argument in arguments if re.match(rf"\+{{0,2}}{re.escape(key)}=", argument)]
    return override_values(overrides)


def _texts(content: Any) -> Iterator[str]:
    """Yield the names and values of a configuration as text."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield str(name)
            yield from _texts(value)
    elif isinstance(content, list):
        for value in content:
            yield from _texts(value)
    else:
        yield str(content)


def _power(result: ConfigResult) -> str | None:
    """Return what in a file could make Hydra import or run something, None where nothing could."""
    content: Any = result.config if hasattr(result.config, "keys") else {}
    if _POWERFUL.search(result.header.get("package") or ""):
        return f"@package {result.header['package']}"
    for entry in content.get("defaults") or []:
        if _POWERFUL.search(str(entry)):
            return f"defaults: {entry}"
    if "plugins" in content:
        return "plugins"
    if asked := next(filter(asks_for_more, _texts(OmegaConf.to_container(content) if content else {})), None):
        return asked
    hydra = content.get("hydra") or {}
    sweep, sweeper = (_table(hydra, name) for name in ("sweep", "sweeper"))
    said = [f"hydra.{key}" for key in hydra if key not in _HARMLESS]
    said += ["hydra.sweep.subdir"] if "subdir" in sweep else []
    said += [f"hydra.sweeper.{key}" for key in sweeper if key != "params"]
    said += [str(key) for key in sweeper.get("params") or {} if _POWERFUL.search(str(key))]
    return said[0] if said else None


def _table(config: Any, name: str) -> Any:
    return (config.get(name) or {}) if hasattr(config, "get") else {}
