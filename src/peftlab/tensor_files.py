"""Files of tensors with facts about them: safetensors, in which nothing is code, with a hash of all they hold."""

import errno
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from peftlab.errors import UserError
from peftlab.files import atomic_file, check_regular

# The entry of metadata. There is one: safetensors writes several in an order that changes from file to file.
FACTS = "peftlab"
_HASH = "sha256"


@dataclass(frozen=True)
class TensorFile:
    """Tensors by name, on the CPU and mapped into memory, and the JSON facts that were written with them."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def write_tensor_file(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors and facts, which must be JSON data, whole or not at all.

    Raises:
        OSError: the disk does not take it.
    """
    content = {**facts, _HASH: _digest(tensors, facts)}
    with atomic_file(path) as temporary:
        try:
            save_file(dict(tensors), temporary, metadata={FACTS: json.dumps(content, sort_keys=True)})
        except SafetensorError as error:  # so the library says that a disk is full
            raise OSError(errno.EIO, str(error), str(path)) from error


def read_tensor_file(path: Path, hash_required: bool = True) -> TensorFile:
    """Return what `write_tensor_file` wrote: tensors and facts are those whose hash the file holds.

    Args:
        path: the file.
        hash_required: False takes files that hold none.

    Raises:
        UserError: says why it is none: missing, no regular file, not whole, changed. The caller names the file.
    """
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts = json.loads((file.metadata() or {}).get(FACTS, "{}"))
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror or error})") from error
    except (SafetensorError, ValueError, RecursionError) as error:
        raise UserError(f"cannot be read ({error})") from error
    if not isinstance(facts, dict):
        raise UserError("its facts are no table of values")
    expected = facts.pop(_HASH, None)
    if (expected is not None or hash_required) and expected != _digest(tensors, facts):
        raise UserError("its content is not that of its hash: it was damaged or changed")
    return TensorFile(tensors, facts)


def _digest(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name}\0{tensor.dtype}{list(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
