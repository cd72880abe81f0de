"""What an earlier attempt left in a run's folder: a result that still holds, or one to be set aside."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peftlab.backbones.loading import load_backbone
from peftlab.cache import RunCache
from peftlab.deployment.measure import measure_deployment
from peftlab.errors import UserError
from peftlab.plan import check_length, make_plan
from peftlab.results.record import FILE_NAME, RunRecord
from peftlab.run_config import DeploymentOptions
from peftlab.training.resumption import remove_checkpoints
from peftlab.training.trainer import find_device
from peftlab.training.trajectory import trajectory_files

log = logging.getLogger(__name__)


def find_finished(config: Mapping[str, Any], folder: Path, cache: RunCache) -> RunRecord | None:
    """Return the record in `folder` if it is that of the very run which `config` asks for, finished and whole.

    `any_code` in the configuration takes a result of other code or libraries too. A finished record that
    does not hold, or any that cannot be read, is set aside as ``result-<its id>.json``, so that no number is lost when
    the run is done again. What is to be measured besides is measured now, from the delta, where it was not before; a
    trajectory that was not kept cannot be had without training again.
    An interrupted run's checkpoint is left to resume from, unless it is of other code, data or weights, without the
    beginning of the trajectory that is asked for, or `force`. Nobody else may be at work in `folder`.

    Raises:
        UserError: a mistake in the configuration, before anything is touched.
    """
    record = _read(folder)
    if record is None:
        return None
    if record.status == "skipped" and not config["force"] and not _differing(config, record, cache):
        return record
    if record.status != "finished":
        if not _may_resume(config, record, cache):
            remove_checkpoints(folder)
        return None
    if why := _why_again(config, record, cache):
        _set_aside(folder, f"had finished ({why})", record.id)
        return None
    _measure_missing(config, record, folder, cache)
    return record


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


def _may_resume(config: Mapping[str, Any], record: RunRecord, cache: RunCache) -> bool:
    if config["force"] or not _keeps_trajectory(config, record):
        return False
    # Another setting is the user's to decide upon: resuming says which. A run that never came to its data has no
    # checkpoint of its own.
    return not record.identity or _differing(config, record, cache) <= {"settings"}


def _why_again(config: Mapping[str, Any], record: RunRecord, cache: RunCache) -> str | None:
    """Return why a finished run is done again; None where its record holds."""
    if config["force"]:
        return "force=true"
    if differing := _differing(config, record, cache):
        return f"another {', another '.join(sorted(differing))}"
    if not _is_whole(record):
        return "its delta is gone"
    assert record.folder is not None
    wanted = config["checkpoint"]["trajectory"]
    if not _keeps_trajectory(config, record) or (wanted is not None and not trajectory_files(record.folder)):
        return f"without checkpoint.trajectory={wanted}"
    return None


def _keeps_trajectory(config: Mapping[str, Any], record: RunRecord) -> bool:
    wanted = config["checkpoint"]["trajectory"]
    return wanted is None or record.config.get("checkpoint", {}).get("trajectory") == wanted


def _measure_missing(config: Mapping[str, Any], record: RunRecord, folder: Path, cache: RunCache) -> None:
    """Measure a finished run as it is asked for, unless its record has that measurement, and rewrite the record."""
    plan = make_plan(config, cache)
    if not plan.deployment.measure or _is_measured(record, plan.deployment):
        return
    log.info("%s had finished and is not trained again; its deployment is measured", folder)
    check_length(plan, load_backbone(plan.spec, plan.kind.output_layer, plan.seed, cache))
    device = find_device(config["trainer"], folder)
    record.deployment = measure_deployment(folder, plan.spec, plan.kind.output_layer, plan.deployment, device)
    record.config = {**record.config, "deployment": dict(config["deployment"])}
    record.write(folder)


def _is_measured(record: RunRecord, options: DeploymentOptions) -> bool:
    if record.deployment is None:
        return False
    delay = record.deployment.delay
    return (delay.batch_size, delay.length, delay.pairs) == (options.batch_size, options.length, options.pairs)


def _differing(config: Mapping[str, Any], record: RunRecord, cache: RunCache) -> set[str]:
    identity = make_plan(config, cache).identity
    return set(identity.differs_from(record.identity)) - ({"code"} if config["any_code"] else set())


def _is_whole(record: RunRecord) -> bool:
    assert record.folder is not None
    if record.delta is None:
        return False
    file = record.folder / record.delta.file
    return file.is_file() and file.stat().st_size == record.delta.bytes
