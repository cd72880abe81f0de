"""``resume=FOLDER``: the command that a run or a sweep was started with, typed again for the same folder.

A folder may come from anywhere. Of what Hydra itself would be told nothing is believed but where a user's own
configuration lies, whose files may then load no classes (`search_path.ReplayedFolder`); no package is ever imported on
a folder's word.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from peftlab.command_line import program
from peftlab.errors import UserError, require
from peftlab.search_path import USER, ReplayedFolder, split_config_dirs

# What Hydra leaves: the first in a sweep's folder, the second in a run's.
_SWEEP, _RUN = "multirun.yaml", ".hydra/hydra.yaml"
# Flags; what Hydra is told, or what is put where it looks; packages.
_NOT_BELIEVED = re.compile(r"-|[^=]*@|[+~]*(hydra|plugins)\b")
_PLUGINS = re.compile(r"\+{0,2}plugins=")


def replayed(arguments: list[str]) -> list[str]:
    """Return the arguments with `resume=FOLDER` replaced by those that the folder was made with; the others follow.

    Raises:
        UserError: more than one folder, none of that name, or one that no run or sweep has left.
    """
    folders = [argument.partition("=")[2] for argument in arguments if argument.startswith("resume=")]
    if not folders:
        return arguments
    require(len(folders) == 1, f"resume is given twice: {', '.join(folders)}; allowed is one folder")
    rest = [argument for argument in arguments if not argument.startswith("resume=")]
    return [*_command(Path(folders[0]).expanduser(), rest), *rest]


def hint(folder: Path, arguments: Sequence[str]) -> str:
    """Return the command that does what is missing in `folder`; packages are named again."""
    plugins = [argument for argument in arguments if _PLUGINS.match(argument)]
    return " ".join([program("train", "python train.py"), f"resume={folder}", *plugins])


def _command(folder: Path, typed: Sequence[str]) -> list[str]:
    require(folder.is_dir(), f"resume={folder}: no such folder")
    is_sweep = (folder / _SWEEP).is_file()
    file = folder / (_SWEEP if is_sweep else _RUN)
    require(file.is_file(), f"resume={folder}: neither a sweep's folder ({_SWEEP}) nor a run's ({_RUN})")
    try:
        given: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        overrides = [str(override) for override in given["hydra"]["overrides"]["task"]]
        searched = _searched(given["hydra"].get("runtime") or {})
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"resume={folder}: {file} does not say what was run ({type(error).__name__})") from error
    kept = [override for override in overrides if not _NOT_BELIEVED.match(override)]
    place = "hydra.sweep.dir" if is_sweep else "hydra.run.dir"
    named = any(_PLUGINS.match(argument) for argument in typed)
    for override in filter(_PLUGINS.match, overrides):
        require(
            named, f"resume={folder}: was run with {override}, code that no folder may choose; type it again with it"
        )
    if searched and not (split_config_dirs(typed)[0] or any("hydra.searchpath=" in argument for argument in typed)):
        kept.append(f"hydra.searchpath=[{','.join(map(_quoted, searched))}]")
    return [*(["-m"] if is_sweep else []), *kept, f"{place}={_quoted(folder)}"]


def _searched(runtime: Mapping[str, Any]) -> list[str]:
    """Return the addresses of the user's folders, as far as a folder's word goes."""
    sources = runtime.get("config_sources") or []
    places = [Path(str(source["path"])) for source in sources if source["provider"] == USER]
    return list(dict.fromkeys(f"{ReplayedFolder.scheme()}://{place}" for place in places))


def _quoted(folder: Path | str) -> str:
    """Return the path as Hydra's grammar takes any text."""
    return "'" + str(folder).replace("\\", "\\\\").replace("'", "\\'") + "'"
