"""What an offline run of W&B wrote, read back: records in LevelDB's log format, each a protocol buffer."""

import json
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2 as protocol

IDENT, MAGIC = b":W&B", 0xBEE1
BLOCK, HEADER = 32768, struct.Struct("<IHB")  # checksum, length, which part of a record
WHOLE, LAST = 1, 4


def forget_account(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """Let there be no account of W&B, no wish, and a home without any file."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))


@dataclass
class OfflineRun:
    """One run as W&B will upload it."""

    folder: Path
    id: str = ""
    name: str = ""
    group: str = ""
    project: str = ""
    tags: list[str] = field(default_factory=list)
    exit_code: int | None = None
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    artifacts: dict[str, dict[str, str]] = field(default_factory=dict)

    def logged(self, name: str) -> dict[int, float]:
        """Return what was logged under `name`, by the trainer's step."""
        return {int(row["trainer/global_step"]): row[name] for row in self.history if name in row}


def offline_runs(folder: Path, patience: float = 60.0) -> list[OfflineRun]:
    """Return the offline runs that lie in a run's folder, the earliest first."""
    return [offline_run(file, patience) for file in sorted((folder / "wandb").glob("offline-run-*/*.wandb"))]


def offline_run(file: Path, patience: float = 60.0) -> OfflineRun:
    """Read a run that has ended, or what there is of it; W&B's service writes beside us and may need a moment."""
    end = time.monotonic() + patience
    while True:
        run = _gathered(file)
        if run.exit_code is not None or time.monotonic() > end:
            return run
        time.sleep(0.1)


def _gathered(file: Path) -> OfflineRun:
    run = OfflineRun(file.parent)
    for record in map(protocol.Record.FromString, _records(file.read_bytes())):
        match record.WhichOneof("record_type"):
            case "run":
                begun = record.run
                run.id, run.name, run.tags = begun.run_id, begun.display_name, list(begun.tags)
                run.group, run.project = begun.run_group, begun.project
                _merged(run.config, begun.config.update)
            case "config":
                _merged(run.config, record.config.update)
            case "history":
                run.history.append(_merged({}, record.history.item))
            case "summary":
                _merged(run.summary, record.summary.update)
            case "artifact":
                entries = record.artifact.manifest.contents
                run.artifacts[record.artifact.name] = {entry.path: entry.local_path for entry in entries}
            case "exit":
                run.exit_code = record.exit.exit_code
    return run


def _merged(tree: dict[str, Any], items: Any) -> dict[str, Any]:
    """Return the tree with the items put in, each at its nested key."""
    for item in items:
        *place, last = item.nested_key or [item.key]
        branch = tree
        for name in place:
            branch = branch.setdefault(name, {})
        branch[last] = json.loads(item.value_json)
    return tree


def _records(content: bytes) -> list[bytes]:
    """Return the records that are whole."""
    if len(content) < 7:
        return []
    assert struct.unpack("<4sHB", content[:7])[:2] == (IDENT, MAGIC)
    at, parts, found = 7, b"", []
    while at + HEADER.size <= len(content):
        if BLOCK - at % BLOCK < HEADER.size:
            at += BLOCK - at % BLOCK
            continue
        _, length, kind = HEADER.unpack_from(content, at)
        at += HEADER.size
        parts, at = parts + content[at : at + length], at + length
        if at > len(content):
            break
        if kind in (WHOLE, LAST):
            found.append(parts)
            parts = b""
    return found
