"""Checkpoints as safetensors: tensors, and a JSON text of all else in the file's metadata; nothing in it is code."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from lightning.fabric.plugins import CheckpointIO
from safetensors import SafetensorError, safe_open
from torch import Tensor

from peftlab.errors import UserError
from peftlab.files import atomic_file

_REST = "checkpoint"


class SafeCheckpoints(CheckpointIO):
    """Lightning's checkpoints, written whole or not at all and without pickle."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint of plain values, dicts, lists, tuples and tensors.

        Raises:
            UserError: the disk does not take it.
        """
        tensors: dict[str, Tensor] = {}
        rest = json.dumps(_tree(checkpoint, tensors))
        try:
            with atomic_file(Path(path)) as temporary:
                safetensors.torch.save_file(tensors, temporary, metadata={_REST: rest})
        except SafetensorError as error:
            raise UserError(f"{path}: cannot be written ({error})") from error

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Return a checkpoint, its tensors on the CPU.

        Raises:
            UserError: the file is no whole checkpoint of this laboratory.
        """
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint's file."""
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path, tensors_too: bool = True) -> dict[str, Any]:
    """Return what `SafeCheckpoints` wrote, without `tensors_too` None for each tensor; UserError for anything else."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) if tensors_too else None for name in file.keys()}  # noqa: SIM118
            checkpoint = _grown(json.loads((file.metadata() or {})[_REST]), tensors)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{path}: not a whole checkpoint ({reason}); remove it to start anew") from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"{path}: not a whole checkpoint (no table of values); remove it to start anew")
    return checkpoint


def _tree(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return `value` in JSON's types, each container under its name; tensors go into `tensors`."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        small = value.numel() <= 1  # a few scores stand in several places; a file holds no tensor twice
        tensors[name] = value.detach().cpu().clone() if small else value.detach().cpu().contiguous()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_tree(key, tensors), _tree(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list" if isinstance(value, list) else "tuple": [_tree(item, tensors) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint holds no {type(value).__name__}")


def _grown(tree: Any, tensors: Mapping[str, Tensor | None]) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_grown(key, tensors): _grown(item, tensors) for key, item in content}
    items = [_grown(item, tensors) for item in content]
    return {"list": items, "tuple": tuple(items)}[kind]
