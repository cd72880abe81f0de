"""What an earlier attempt left in a run's folder: a result that still holds, or one to be set aside."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peftlab.data.originals import read_originals
from peftlab.errors import UserError
from peftlab.identity import identify
from peftlab.kept import Kept
from peftlab.preflight import make_parts
from peftlab.results.record import FILE_NAME, RunRecord

log = logging.getLogger(__name__)


def take_up(config: Mapping[str, Any], folder: Path, kept: Kept) -> RunRecord | None:
    """Return the record in `folder` if it is that of the very run which `config` asks for, finished and whole.

    `any_code` in the configuration takes a result of other code or libraries too. A finished record that
    does not hold is set aside as ``result-<its id>.json``, so that no number is lost when the run is done again.

    Raises:
        UserError: a mistake in the configuration, before anything is touched.
    """
    record = _read(folder)
    if record is None or record.status != "finished":
        return None
    differing = set() if config["force"] else _differing(config, record, kept)
    if not config["force"] and not differing and _is_whole(record):
        return record
    aside = folder / f"result-{record.id or 'unknown'}.json"
    (folder / FILE_NAME).rename(aside)
    why = f"another {', another '.join(sorted(differing))}" if differing else "force=true, or its delta is gone"
    log.warning("%s had finished (%s) and is run again; its record is kept as %s", folder, why, aside.name)
    return None


def _read(folder: Path) -> RunRecord | None:
    if not (folder / FILE_NAME).exists():
        return None
    try:
        return RunRecord.read(folder)
    except UserError:
        return None  # half a record is no result


def _differing(config: Mapping[str, Any], record: RunRecord, kept: Kept) -> set[str]:
    parts = make_parts(config)
    identity = identify(config, parts, read_originals(parts.task, parts.data.folder, kept).hashes)
    return set(identity.differs_from(record.identity)) - ({"code"} if config["any_code"] else set())


def _is_whole(record: RunRecord) -> bool:
    assert record.folder is not None
    if record.delta is None:
        return False
    file = record.folder / record.delta.file
    return file.is_file() and file.stat().st_size == record.delta.bytes
