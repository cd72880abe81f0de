"""``resume=FOLDER``: the command that a run or a sweep was started with, typed again for the same folder."""

import re
from pathlib import Path
from typing import Any

import yaml

from peftlab.errors import UserError, require

# What Hydra leaves: the first in a sweep's folder, the second in a run's.
_SWEEP, _RUN = "multirun.yaml", ".hydra/hydra.yaml"


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
    return [*_command(Path(folders[0]).expanduser()), *rest]


def _command(folder: Path) -> list[str]:
    require(folder.is_dir(), f"resume={folder}: no such folder")
    is_sweep = (folder / _SWEEP).is_file()
    file = folder / (_SWEEP if is_sweep else _RUN)
    require(file.is_file(), f"resume={folder}: neither a sweep's folder ({_SWEEP}) nor a run's ({_RUN})")
    try:
        given: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
        overrides = [str(override) for override in given["hydra"]["overrides"]["task"]]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise UserError(f"resume={folder}: {file} does not say what was run ({type(error).__name__})") from error
    # A folder may come from anywhere: of what Hydra itself would be told, as to load classes, nothing is believed.
    kept = [override for override in overrides if not re.match(r"-|[+~]*hydra\b", override)]
    place = "hydra.sweep.dir" if is_sweep else "hydra.run.dir"
    return [*(["-m"] if is_sweep else []), *kept, f"{place}={_quoted(folder)}"]


def _quoted(folder: Path) -> str:
    """Return the path as Hydra's grammar takes any text."""
    return "'" + str(folder).replace("\\", "\\\\").replace("'", "\\'") + "'"
