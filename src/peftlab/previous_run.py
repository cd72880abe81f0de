"""What an earlier attempt left in a run's folder: a result that still holds, or work to be gone on with."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from peftlab.backbones.loading import load_backbone
from peftlab.cache import RunCache
from peftlab.delta.delta import read_facts
from peftlab.deployment.measure import measure_deployment
from peftlab.errors import UserError
from peftlab.files import content_sha256
from peftlab.plan import Plan, check_length
from peftlab.results.record import FILE_NAME, RunRecord
from peftlab.run_config import DeploymentOptions
from peftlab.run_folder import clear, set_aside
from peftlab.training.resumption import has_checkpoint, resumed_identity, seconds_taken
from peftlab.training.trainer import find_device
from peftlab.training.trajectory import trajectory_files

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Interrupted:
    """A run that is resumed: the how manieth time, and the seconds it had taken."""

    resumed: int
    seconds: float


def read_earlier(folder: Path) -> RunRecord | None:
    """Return the record in `folder`; None where there is none, or one that cannot be read."""
    try:
        return RunRecord.read(folder) if (folder / FILE_NAME).exists() else None
    except UserError:
        return None


def set_unreadable_aside(folder: Path, record: RunRecord | None) -> None:
    """Keep a record that `read_earlier` could not read under another name, before a new one takes its place."""
    if record is None and (folder / FILE_NAME).exists():
        _set_aside(folder, "holds half a record, or another's", None)


def find_finished(plan: Plan, record: RunRecord | None, folder: Path, cache: RunCache) -> RunRecord | None:
    """Return the record in `folder` if it is that of the very run which is planned, finished and whole.

    `any_code` takes a result of other code or libraries too. A finished record that does not hold is set aside as
    ``result-<its id>.json``, so that no number is lost when the run is done again. What is to be measured besides is
    measured now, from the delta, where it was not before; a trajectory that was not kept cannot be had without training
    again. Nobody else may be at work in `folder`.

    Raises:
        UserError: what is to be measured does not fit.
    """
    if record is None:
        return None
    if record.status == "skipped" and not plan.given.force and not _differing(plan, record.identity):
        return record
    if record.status != "finished":
        return None
    if why := _why_again(plan, record):
        _set_aside(folder, f"had finished ({why})", record.id)
        return None
    clear(folder)  # killed between its last word and this
    _measure_missing(plan, record, folder, cache)
    return record


def find_interrupted(plan: Plan, record: RunRecord | None, folder: Path) -> Interrupted | None:
    """Return how an interrupted run is resumed from the checkpoint in `folder`; None where it is begun anew.

    It is, if there is no checkpoint, or it is of other code, data or weights, without the beginning of the trajectory
    that is asked for, or `force`.

    Raises:
        UserError: the checkpoint is damaged, or belongs to a run with other settings or another selection: which of
            them holds, is the user's to decide upon.
    """
    if not has_checkpoint(folder) or plan.given.force or (record is not None and record.status == "finished"):
        return None
    if record is not None and not _keeps_trajectory(plan, record):
        return None
    identity = resumed_identity(folder) or (record.identity if record is not None else {})
    if identity and not _differing(plan, identity) <= {"settings"}:
        return None
    seconds = seconds_taken(folder, plan.run_settings)
    return Interrupted((record.resumed if record is not None else 0) + 1, seconds)


def _set_aside(folder: Path, why: str, own: str | None) -> None:
    aside = set_aside(folder, own)
    log.warning("%s %s and is run again; its record is kept as %s", folder, why, aside.name)


def _why_again(plan: Plan, record: RunRecord) -> str | None:
    """Return why a finished run is done again; None where its record holds."""
    if plan.given.force:
        return "force=true"
    if differing := _differing(plan, record.identity):
        return f"another {', another '.join(sorted(differing))}"
    if not _is_whole(record):
        return "its delta is gone or damaged"
    assert record.folder is not None
    wanted = plan.given.checkpoint.trajectory
    if not _keeps_trajectory(plan, record) or (wanted is not None and not trajectory_files(record.folder)):
        return f"without checkpoint.trajectory={wanted}"
    return None


def _keeps_trajectory(plan: Plan, record: RunRecord) -> bool:
    wanted = plan.given.checkpoint.trajectory
    return wanted is None or record.config.get("checkpoint", {}).get("trajectory") == wanted


def _measure_missing(plan: Plan, record: RunRecord, folder: Path, cache: RunCache) -> None:
    """Measure a finished run as it is asked for, unless its record has that measurement, and rewrite the record."""
    if not plan.deployment.measure or _is_measured(record, plan.deployment):
        return
    log.info("%s had finished and is not trained again; its deployment is measured", folder)
    backbone = load_backbone(plan.spec, plan.kind.output_layer, plan.seed, cache)
    check_length(plan, plan.strategy.fitted(backbone), backbone)
    device = find_device(plan.config["trainer"], folder)
    record.deployment = measure_deployment(folder, plan.spec, plan.kind.output_layer, plan.deployment, device)
    record.config = {**record.config, "deployment": dict(plan.config["deployment"])}
    record.write(folder)


def _is_measured(record: RunRecord, options: DeploymentOptions) -> bool:
    if record.deployment is None:
        return False
    delay = record.deployment.delay
    return (delay.batch_size, delay.length, delay.pairs) == (options.batch_size, options.length, options.pairs)


def _differing(plan: Plan, identity: Mapping[str, str]) -> set[str]:
    return set(plan.identity.differs_from(identity)) - ({"code"} if plan.given.any_code else set())


def _is_whole(record: RunRecord) -> bool:
    assert record.folder is not None
    if record.delta is None:
        return False
    file = record.folder / record.delta.file
    if not file.is_file() or file.stat().st_size != record.delta.bytes:
        return False
    content = content_sha256(file)
    try:
        belongs = read_facts(record.folder).sha256 in ("", content)
    except UserError:
        return False
    return belongs and record.delta.sha256 in (None, content)
