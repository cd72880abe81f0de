"""One run in Weights & Biases: begun, resumed after an interruption, and ended with all that the record says."""

import logging
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from peftlab.delta.delta import FACTS_FILE, TENSORS_FILE
from peftlab.errors import UserError
from peftlab.network import has_wandb_key, wandb_reachable

log = logging.getLogger(__name__)

# W&B's own numbers: 0 finished, 255 killed (what it takes for Ctrl-C), anything else failed.
EXIT_CODES = {"finished": 0, "skipped": 0, "interrupted": 255}
FAILED = 1
# Its service writes once a block of 32 KB is full, else every 15 seconds, and a kill would take the rest with it.
# Seconds; older versions have no such setting.
_FLUSH = "x_transaction_log_flush_interval"
_KEPT_ON_A_KILL = {_FLUSH: 0.5} if _FLUSH in wandb.Settings.model_fields else {}
# The folder that W&B makes of a run: when it began, and its id.
_FOLDER = re.compile(r"(?:offline-)?run-(?P<began>\d{8}_\d{6})-(?P<id>.+)")
# A run's row in the table that W&B joins over the runs of a project: (column, path in the record).
_COLUMNS = (
    *((name, (name,)) for name in ("task", "strategy", "backbone", "shots", "seed", "status")),
    *((name, ("metric", key)) for name, key in (("metric", "name"), ("validation", "validation"), ("test", "test"))),
    ("tuned parameters", ("parameters", "tuned")),
    ("delta bytes", ("delta", "bytes")),
    ("training seconds", ("seconds", "training")),
    ("peak bytes", ("memory", "peak_bytes")),
    ("collapsed", ("collapsed",)),
)


def begin(options: Mapping[str, Any], folder: Path, run: Mapping[str, Any]) -> WandbLogger:
    """Return the logger of a run that W&B has begun, or resumed where `run` is `resumed`.

    Args:
        options: `conf/logger/wandb.yaml`.
        folder: the run's output folder.
        run: its `id`, `name`, `group`, `tags` and `config`, and whether it is `resumed`.

    Raises:
        UserError: W&B does not let the run begin: a wrong key, a project of others, a server that does not answer.
    """
    logger = WandbLogger(
        save_dir=folder,
        project=options["project"],
        entity=options["entity"],
        # Not WandbLogger's own `offline`, which would leave WANDB_MODE behind for the next run of the process.
        mode="offline" if is_offline(options["offline"]) else "online",
        id=_id(folder, run["id"], run["resumed"]),
        name=run["name"],
        group=run["group"],
        tags=run["tags"],
        config=run["config"],
        settings={"silent": True, **_KEPT_ON_A_KILL},
    )
    try:
        _tell(logger.experiment)  # asking for it begins the run
    except wandb.Error as error:
        told = " ".join(str(error).split())
        raise UserError(f"logger=wandb: {told}; logger.offline=true needs neither key nor server") from error
    return logger


@rank_zero_only
def end(logger: WandbLogger, folder: Path, record: Mapping[str, Any], delta: bool = True) -> None:
    """Give W&B what the run left in its `folder` and end it as its `record`, the content of result.json, says.

    The delta is an artifact where `delta` says so; that of full fine-tuning is as large as the model.
    The record is whole by then: what W&B refuses now is a warning, no failure of the run.
    """
    exit_code = EXIT_CODES.get(str(record.get("status")), FAILED)
    try:
        try:
            _publish(logger.experiment, folder, record, delta)
        finally:
            logger.experiment.finish(exit_code)
    except wandb.Error as error:
        log.warning("W&B did not take all of %s: %s", folder, " ".join(str(error).split()))


@rank_zero_only
def _tell(run: wandb.Run) -> None:
    log.info("W&B: %s", run.url or f"offline; `wandb sync {run.settings.sync_dir}` uploads it")


def is_offline(wish: bool | None) -> bool:
    """Return whether a run is only written to disk: as wished, else where there is no key or no network."""
    if wish is not None:
        return wish
    return os.environ.get("WANDB_MODE") == "offline" or not (has_wandb_key() and wandb_reachable())


def _id(folder: Path, identity: str, resumed: bool) -> str:
    """Return the id of the run in `folder`: of one that is resumed its own, else a new one.

    A run that is repeated has the same identity, but W&B would take it for the end of the first: it gets another id.
    """
    earlier = [match for path in (folder / "wandb").glob("*run-*") if (match := _FOLDER.fullmatch(path.name))]
    if resumed and earlier:
        return max(earlier, key=lambda match: match["began"])["id"]
    return f"{identity}-{secrets.token_hex(3)}"


def _publish(run: wandb.Run, folder: Path, record: Mapping[str, Any], delta: bool) -> None:
    selection, picture = folder / "selection.json", folder / "selection.png"
    if selection.exists():
        run.log_artifact(_artifact(run, "selection", [selection, picture]))
    if picture.exists():
        run.log({"heads": wandb.Image(str(picture))})
    if record.get("status") == "finished":
        run.log_artifact(_artifact(run, "result", [folder / "result.json"]))
        if delta:
            run.log_artifact(_artifact(run, "delta", [folder / TENSORS_FILE, folder / FACTS_FILE]))
        run.log({"table": _table(record)})  # an artifact, too: run-<id>-table
    run.summary.update(dict(record))


def _artifact(run: wandb.Run, kind: str, files: list[Path]) -> wandb.Artifact:
    artifact = wandb.Artifact(f"{kind}-{run.id}", type=kind)
    for file in files:
        if file.exists():
            # Not copied into the home first: an offline run may be uploaded from another machine.
            artifact.add_file(str(file), policy="immutable")
    return artifact


def _table(record: Mapping[str, Any]) -> wandb.Table:
    return wandb.Table(columns=[name for name, _ in _COLUMNS], data=[[_at(record, path) for _, path in _COLUMNS]])


def _at(record: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        record = record.get(name) if isinstance(record, Mapping) else None
    return record
