"""A delta on disk: `delta.safetensors` holds the tensors, `delta.json` says what they belong to."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from peftlab.errors import UserError
from peftlab.files import check_regular, content_sha256, read_text, write_bytes_atomic, write_text_atomic
from peftlab.options.schema import build, parse_json
from peftlab.output_layer import OutputLayer, classes, read_output_layer, score
from peftlab.redaction import redact

SCHEMA = 1
TENSORS_FILE = "delta.safetensors"
FACTS_FILE = "delta.json"


@dataclass(frozen=True)
class DeltaFacts:
    """What a delta belongs to: enough to attach its strategy to a fresh backbone and take the tensors back.

    `sha256` is that of the tensors' file; deltas from before it have none.
    """

    strategy: str
    options: dict[str, Any]
    selection: dict[str, Any]
    backbone: dict[str, Any]
    fingerprint: str
    task: str
    labels: list[str]
    tensors: int
    versions: dict[str, Any] = field(default_factory=dict)
    output: dict[str, Any] = field(default_factory=dict)
    sha256: str = field(default="", compare=False)
    schema: int = SCHEMA

    @property
    def output_layer(self) -> OutputLayer:
        """What stood on top of the backbone; a delta that does not say so has one output a label, or a score.

        Raises:
            UserError: it is none that a kind of task could have asked for.
        """
        if self.output:
            return read_output_layer(self.output)
        return classes(self.labels) if self.labels else score()


@dataclass(frozen=True)
class Delta:
    """Named tensors (the classifier among them) and the facts that go with them."""

    facts: DeltaFacts
    tensors: Mapping[str, Tensor]


def save_delta(delta: Delta, folder: Path) -> int:
    """Write a delta into `folder` and return the bytes of its tensors file."""
    size = write_tensors(delta.tensors, folder / TENSORS_FILE)
    facts = replace(delta.facts, sha256=content_sha256(folder / TENSORS_FILE) or "")
    write_text_atomic(folder / FACTS_FILE, json.dumps(redact(asdict(facts)), indent=2) + "\n")
    return size


def write_tensors(tensors: Mapping[str, Tensor], path: Path) -> int:
    """Write named tensors, whole or not at all, and return the bytes of the file."""
    content = safetensors.torch.save(dict(tensors), metadata={"format": "pt"})
    write_bytes_atomic(path, content)
    return len(content)


def load_delta(folder: Path) -> Delta:
    """Read a delta from a run's folder.

    Raises:
        UserError: a file is missing, truncated or edited into something else, or of a newer schema.
    """
    facts = read_facts(folder)
    tensors = read_tensors(folder / TENSORS_FILE)
    if facts.sha256 and content_sha256(folder / TENSORS_FILE) != facts.sha256:
        raise UserError(f"{folder / TENSORS_FILE}: damaged, or another run's: its SHA-256 is not that of {FACTS_FILE}")
    if len(tensors) != facts.tensors:
        raise UserError(f"{folder / TENSORS_FILE}: holds {len(tensors)} tensors, {FACTS_FILE} says {facts.tensors}")
    return Delta(facts, tensors)


def delta_fingerprint(folder: Path) -> str | None:
    """Return the SHA-256 of the delta in a run's folder, what it belongs to included; None where there is none."""
    parts = [content_sha256(folder / name) for name in (TENSORS_FILE, FACTS_FILE)]
    return None if None in parts else hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()


def check_backbone(facts: DeltaFacts, name: str, fingerprint: str, option: str | None = None) -> None:
    """Refuse a delta that was made on another backbone.

    Raises:
        UserError: naming both fingerprints, and the `option` that names a folder with the right one.
    """
    if facts.fingerprint != fingerprint:
        raise UserError(
            f"delta: it was made on backbone {facts.backbone.get('name')} with fingerprint {facts.fingerprint}, "
            f"this is {name} with fingerprint {fingerprint}"
            + (f"; {option} names the folder of its weights" if option else "")
        )


def read_facts(folder: Path) -> DeltaFacts:
    """Return what the delta in a run's folder belongs to; its tensors are not looked at.

    Raises:
        UserError: the file is missing, truncated or edited into something else, or of a newer schema.
    """
    path = folder / FACTS_FILE
    try:
        content = parse_json(read_text(path))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; a run's folder with a delta holds it") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not a delta's JSON ({error})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: not a delta's JSON (a table of values is expected)")
    schema = content.get("schema")
    if schema != SCHEMA:
        raise UserError(f"{path}: schema {schema} is not known here; allowed is {SCHEMA}")
    return build(DeltaFacts, content, str(path))


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the named tensors of a file; UserError where it is missing or not whole."""
    try:
        check_regular(path)
        return safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file") from error
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: not whole, or no safetensors file ({error})") from error
