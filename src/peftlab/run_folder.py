"""A run's folder: which files in it are a run's own, and what becomes of those that an earlier attempt left.

Everything else in it is the user's. What makes a file the laboratory's is a run's record beside it, or what Hydra says
of a run of ours.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from peftlab.delta.delta import FACTS_FILE, TENSORS_FILE
from peftlab.errors import UserError
from peftlab.files import remove_files, remove_leftovers
from peftlab.locks import FILE as LOCK
from peftlab.results import predictions
from peftlab.results.record import FILE_NAME, RunRecord
from peftlab.strategies.contract import Strategy
from peftlab.strategies.registry import strategy_class
from peftlab.training import resumption, trajectory

# What Hydra would write; `job_files.py` does, once the run is sure to begin.
HYDRA_FOLDER = ".hydra"
HYDRA_FILE = f"{HYDRA_FOLDER}/hydra.yaml"
# In every such file of ours, and hardly in those of another program that Hydra configures.
_OURS = ("peftlab", "+strategy=")
_RECORDS = rf"{re.escape(FILE_NAME)}|result-.+\.json"
_RESULTS = f"{TENSORS_FILE}|{FACTS_FILE}|{predictions.FILE}"
_WRITTEN = rf"{_RECORDS}|{_RESULTS}|metrics\.csv|train.*\.log|\.hydra|{resumption.FOLDER}|{trajectory.FOLDER}"
_START = 300  # characters of a record that show whose it is


def is_new(folder: Path) -> bool:
    """Return whether a folder is empty, but for the lock that this process has on it, or not there."""
    return not folder.is_dir() or all(path.name == LOCK for path in folder.iterdir())


def check_folder(folder: Path, strategy: Strategy) -> None:
    """Refuse a folder where a run would write over, or clear up, what no run of the laboratory has left.

    Raises:
        UserError: naming the file.
    """
    if _is_a_runs(folder):
        return
    written = "|".join([_WRITTEN, *map(re.escape, _selection_files(type(strategy)))])
    for path in sorted(folder.iterdir()):
        if re.fullmatch(written, path.name):
            raise UserError(
                f"{path}: a run would write there, and no run of the laboratory left it; "
                "name another folder: hydra.run.dir=FOLDER, hydra.sweep.dir=FOLDER"
            )


def clear(folder: Path) -> None:
    """Remove what only an unfinished run needs, and what processes left that were killed while they wrote."""
    resumption.remove_checkpoints(folder)
    remove_leftovers(folder / trajectory.FOLDER, trajectory.FILE.pattern)
    remove_leftovers(folder, _RECORDS, _RESULTS)


def discard(folder: Path, strategy: Strategy, before: RunRecord | None) -> None:
    """Remove what an earlier attempt left that a new one of `strategy` must not inherit; its record stays."""
    clear(folder)
    trajectory.remove_trajectory(folder)
    discard_results(folder)
    if before is not None and before.strategy != strategy.name:
        try:
            stale = set(_selection_files(strategy_class(before.strategy)))
        except UserError:
            return  # of a package that is not here
        remove_files(folder, *map(re.escape, stale - set(_selection_files(type(strategy)))))


def discard_results(folder: Path) -> None:
    """Remove the delta and the predictions: if an attempt fails, the folder must not look as if it had succeeded."""
    remove_files(folder, _RESULTS)


def set_aside(folder: Path, own: str | None) -> Path:
    """Rename the record, so that no number is lost when the run is done again; return its new place."""
    aside = next(path for path in _places(folder, own or "unknown") if not path.exists())
    (folder / FILE_NAME).rename(aside)
    return aside


def _places(folder: Path, name: str) -> Iterator[Path]:
    yield folder / f"result-{name}.json"
    number = 2
    while True:
        yield folder / f"result-{name}-{number}.json"
        number += 1


def _is_a_runs(folder: Path) -> bool:
    hydra, record = folder / HYDRA_FILE, folder / FILE_NAME
    if hydra.is_file() and any(word in hydra.read_text(encoding="utf-8", errors="replace") for word in _OURS):
        return True
    if not record.is_file():
        return False
    with record.open(encoding="utf-8", errors="replace") as file:
        start = file.read(_START)
    return '"schema":' in start and '"status":' in start  # half a record, too


def _selection_files(strategy: type[Strategy]) -> tuple[str, ...]:
    kind = strategy.selection_type
    return kind.files if kind is not None else ()
