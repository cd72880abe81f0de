"""``resume=FOLDER``: the commands that a run or a sweep was started with, typed again for the same folder.

A folder may come from anywhere. Of what Hydra itself would be told nothing is believed but which launcher and sweeper
to take, how many runs at a time, and where a user's own configuration lies, whose files may then load no classes
(`search_path.ReplayedFolder`). No package is ever imported on a folder's word, nothing of this machine is read into a
name, and no name leads out of the folder.
"""

import re
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from peftlab.command_line import program
from peftlab.errors import UserError, require
from peftlab.files import read_text
from peftlab.job_files import HYDRA, MULTIRUN, commands_of
from peftlab.search_path import USER, ReplayedFolder, asks_for_more, split_config_dirs

# What Hydra leaves: the first in a sweep's folder, the second in a run's.
_SWEEP, _RUN = MULTIRUN, f"{HYDRA}/hydra.yaml"
# Flags; what Hydra is told, or what is put where it looks; code; a wish of the command that was typed.
_NOT_BELIEVED = re.compile(r"-|[^=]*@|[+~]*(hydra|plugins|force|trainer\.callbacks)\b")
# Known plugins of Hydra, whole numbers as n_jobs, the way a search goes: none runs anything that is not run anyway.
_HARMLESS = re.compile(
    r"hydra/launcher=(basic|joblib|ray|slurm|submitit_local|submitit_slurm)|hydra/sweeper=(basic|optuna)"
    r"|\+{0,2}hydra\.(launcher|sweeper)\.\w+=\d+|\+{0,2}hydra\.sweeper\.sampler\.seed=\d+"
    r"|\+{0,2}hydra\.sweeper\.direction=(minimize|maximize)"
)
_PLACE = re.compile(r"\+{0,2}hydra(\.(run|sweep)\.dir|\.searchpath|\.mode)=|-m$|--multirun$")
# What names code: packages, and classes of callbacks.
_CODE = (re.compile(r"\+{0,2}plugins="), re.compile(r"[+~]*trainer\.callbacks\b"))


def replayed(arguments: list[str]) -> list[list[str]]:
    """Return the commands of a command line: of `resume=FOLDER` those that the folder was made with.

    What else is typed follows in each. Without `resume` the command line is one command as it is.

    Raises:
        UserError: more than one folder, none of that name, or one that no run or sweep has left.
    """
    folders = [argument.partition("=")[2] for argument in arguments if argument.startswith("resume=")]
    if not folders:
        return [arguments]
    require(len(folders) == 1, f"resume is given twice: {', '.join(folders)}; allowed is one folder")
    rest = [argument for argument in arguments if not argument.startswith("resume=")]
    folder = Path(folders[0]).expanduser()
    return [[*_command(file, folder, is_sweep, rest), *rest] for file, is_sweep in _files(folder)]


def hint(folder: Path, arguments: Sequence[str]) -> str:
    """Return the command that does what is missing in `folder`, for a shell; code is named again."""
    code = [argument for argument in arguments if _names_code(argument)]
    return f"{program('train', 'python train.py')} {shlex.join([f'resume={folder}', *code])}"


def _files(folder: Path) -> list[tuple[Path, bool]]:
    """Return the files that say what was run in a folder, and whether that was a sweep."""
    require(folder.is_dir(), f"resume={folder}: no such folder")
    commands = commands_of(folder)
    sweep = commands or [file for file in [folder / _SWEEP] if file.is_file()]
    run = [file for file in [folder / _RUN] if file.is_file()]
    require(bool(sweep or run), f"resume={folder}: neither a sweep's folder ({_SWEEP}) nor a run's ({_RUN})")
    return [(file, bool(sweep)) for file in sweep or run]


def _command(file: Path, folder: Path, is_sweep: bool, typed: Sequence[str]) -> list[str]:
    try:
        given: dict[str, Any] = yaml.safe_load(read_text(file))
        said = given["hydra"]["overrides"]
        overrides = [str(override) for override in (*(said.get("hydra") or []), *said["task"])]
        searched = _searched(given["hydra"].get("runtime") or {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, yaml.YAMLError) as error:
        raise UserError(f"resume={folder}: {file} does not say what was run ({type(error).__name__})") from error
    _check_code(overrides, folder, typed)
    kept = [override for override in overrides if _is_believed(override)]
    for override in kept:
        require(
            not asks_for_more(override),
            f"resume={folder}: was run with {override}, which asks for what no folder may; type it again with it",
        )
    _tell_left_out([override for override in overrides if override not in kept], folder, typed)
    if searched and not (split_config_dirs(typed)[0] or any("hydra.searchpath=" in argument for argument in typed)):
        kept.append(f"hydra.searchpath=[{','.join(map(quoted, searched))}]")
    place = "hydra.sweep.dir" if is_sweep else "hydra.run.dir"
    return [*(["-m"] if is_sweep else []), *kept, f"{place}={quoted(folder)}"]


def _is_believed(override: str) -> bool:
    return bool(_HARMLESS.fullmatch(override)) or not _NOT_BELIEVED.match(override)


def _names_code(override: str) -> bool:
    return any(code.match(override) for code in _CODE)


def _check_code(overrides: Sequence[str], folder: Path, typed: Sequence[str]) -> None:
    for code in _CODE:
        named = any(code.match(argument) for argument in typed)
        for override in filter(code.match, overrides):
            require(
                named,
                f"resume={folder}: was run with {override}, code that no folder may choose; type it again with it",
            )


def _tell_left_out(overrides: Sequence[str], folder: Path, typed: Sequence[str]) -> None:
    """Say which wishes of the first command hold no more, but for those that are typed again or are a place's."""
    for override in overrides:
        key = override.partition("=")[0]
        again = any(argument.partition("=")[0] == key for argument in typed)
        if not (again or _PLACE.match(override) or _names_code(override) or override.startswith("force")):
            print(f"resume={folder}: {override!r} is taken from no folder; type it again to have it", file=sys.stderr)


def _searched(runtime: Mapping[str, Any]) -> list[str]:
    """Return the addresses of the user's folders, as far as a folder's word goes."""
    sources = runtime.get("config_sources") or []
    places = [Path(str(source["path"])) for source in sources if source["provider"] == USER]
    return list(dict.fromkeys(f"{ReplayedFolder.scheme()}://{place}" for place in places))


def quoted(folder: Path | str) -> str:
    """Return the path as Hydra's grammar takes any text."""
    return "'" + str(folder).replace("\\", "\\\\").replace("'", "\\'") + "'"
