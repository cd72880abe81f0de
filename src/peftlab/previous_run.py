"""What an earlier attempt left in a run's folder: a result that still holds, or one to be set aside."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peftlab.cache import RunCache
from peftlab.data.raw_splits import read_raw_splits
from peftlab.errors import UserError
from peftlab.identity import identify
from peftlab.plan import make_parts
from peftlab.results.record import FILE_NAME, RunRecord
from peftlab.training.resumption import remove_checkpoints

log = logging.getLogger(__name__)


def find_finished(config: Mapping[str, Any], folder: Path, cache: RunCache) -> RunRecord | None:
    """Return the record in `folder` if it is that of the very run which `config` asks for, finished and whole.

    `any_code` in the configuration takes a result of other code or libraries too. A finished record that
    does not hold, or any that cannot be read, is set aside as ``result-<its id>.json``, so that no number is lost when
    the run is done again.
    An interrupted run's checkpoint is left to go on from, unless it is of other code, data or weights, or `force`.
    Nobody else may be at work in `folder`.

    Raises:
        UserError: a mistake in the configuration, before anything is touched.
    """
    record = _read(folder)
    if record is None:
        return None
    if record.status != "finished":
        if not _may_go_on(config, record, cache):
            remove_checkpoints(folder)
        return None
    differing = set() if config["force"] else _differing(config, record, cache)
    if not config["force"] and not differing and _is_whole(record):
        return record
    why = f"another {', another '.join(sorted(differing))}" if differing else "force=true, or its delta is gone"
    _set_aside(folder, f"had finished ({why})", record.id)
    return None


def _read(folder: Path) -> RunRecord | None:
    if not (folder / FILE_NAME).exists():
        return None
    try:
        return RunRecord.read(folder)
    except UserError:
        _set_aside(folder, "holds half a record, or another's", None)
        return None


def _set_aside(folder: Path, why: str, own: str | None) -> None:
    aside = folder / f"result-{own or 'unknown'}.json"
    (folder / FILE_NAME).rename(aside)
    log.warning("%s %s and is run again; its record is kept as %s", folder, why, aside.name)


def _may_go_on(config: Mapping[str, Any], record: RunRecord, cache: RunCache) -> bool:
    if config["force"]:
        return False
    # Another setting is the user's to decide upon: going on says which. A run that never came to its data has no
    # checkpoint of its own.
    return not record.identity or _differing(config, record, cache) <= {"settings"}


def _differing(config: Mapping[str, Any], record: RunRecord, cache: RunCache) -> set[str]:
    parts = make_parts(config)
    identity = identify(config, parts, read_raw_splits(parts.task, parts.data.folder, cache).hashes)
    return set(identity.differs_from(record.identity)) - ({"code"} if config["any_code"] else set())


def _is_whole(record: RunRecord) -> bool:
    assert record.folder is not None
    if record.delta is None:
        return False
    file = record.folder / record.delta.file
    return file.is_file() and file.stat().st_size == record.delta.bytes
