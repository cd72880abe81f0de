"""A backbone's identity: a hash over its pretrained tensors, whatever file they came from."""

import hashlib
from pathlib import Path

import torch
from transformers import PreTrainedModel

from peftlab.backbones.architecture import architecture


def fingerprint(model: PreTrainedModel) -> str:
    """Return the sha256 (64 hex digits) over names, shapes, types and bytes of all tensors of the base model.

    The task's output layer does not count, so every task on the same backbone has the same fingerprint.
    """
    digest = hashlib.sha256()
    base = architecture(model.config.model_type).base(model)
    for name, tensor in sorted(base.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(memoryview(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy()))
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """Return the sha256 (64 hex digits) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
