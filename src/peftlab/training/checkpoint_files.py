"""Checkpoints as safetensors: tensors, and a JSON text of all else in the file's metadata; nothing in it is code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.plugins import CheckpointIO
from torch import Tensor

from peftlab.errors import UserError, require, shown
from peftlab.tensor_files import read_tensor_file, write_tensor_file

_REST = "checkpoint"


class SafeCheckpoints(CheckpointIO):
    """Lightning's checkpoints, written whole or not at all and without pickle."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint of plain values, dicts, lists, tuples and tensors.

        Raises:
            OSError: the disk does not take it.
        """
        tensors: dict[str, Tensor] = {}
        write_tensor_file(Path(path), tensors, {_REST: _tree(checkpoint, tensors)})

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Return a checkpoint, its tensors on the CPU.

        Raises:
            UserError: the file is no whole checkpoint of this laboratory.
        """
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint's file."""
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return what `SafeCheckpoints` wrote; UserError for anything else, and for what was damaged or changed since."""
    try:
        file = read_tensor_file(path)
        checkpoint = _grown(file.facts[_REST], file.tensors)
        require(isinstance(checkpoint, dict), "no table of values")
    except (UserError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise not_whole(path, error) from error
    return checkpoint


def not_whole(path: Path | None, error: Exception) -> UserError:
    """Return what a user is told of a checkpoint in which something is missing or of another form."""
    reason = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return UserError(f"{path}: not a whole checkpoint ({shown(reason, 200)}); remove it to start anew")


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


def _grown(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(tree, dict):
        return tree
    ((kind, content),) = tree.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {_grown(key, tensors): _grown(item, tensors) for key, item in content}
    items = [_grown(item, tensors) for item in content]
    return {"list": items, "tuple": tuple(items)}[kind]
