"""What the fixtures made by the authors' own code rest on: weights and batches by formula, and how far both moved.

A fixture holds numbers alone, with a description of the code that made them (`made`). Weights and inputs come from
whole-number arithmetic on names, so that they are the same on every machine and under every version.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models import output_layer, tiny_spec
from peftlab.backbones.loading import Backbone, load_backbone
from peftlab.strategies.attached import Attached
from peftlab.training.optimiser import build_optimiser, build_schedule

PRIME = 65521
TOKENS = 40
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 16,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def fixture(name: str) -> dict[str, Any]:
    """Return the numbers that the authors' code of a method gave."""
    return json.loads((Path(__file__).parent / "fixtures" / f"{name}.json").read_text(encoding="utf-8"))


def numbers(name: str, count: int) -> Tensor:
    """Return whole numbers in [0, 65521): n^3 + 7919 n modulo that prime, n counted from the CRC-32 of `name`."""
    n = zlib.crc32(name.encode()) % PRIME + torch.arange(count)
    return (n * n % PRIME * n + 7919 * n) % PRIME


def weight(name: str, shape: Iterable[int]) -> Tensor:
    """Return a float64 tensor: matrices in [-0.3, 0.3), biases in [-0.1, 0.1), scales of a norm in [0.8, 1.2)."""
    size = torch.Size(shape)
    centred = numbers(name, size.numel()).view(size).double() / PRIME - 0.5
    if len(size) >= 2:
        return 0.6 * centred
    return 1 + 0.4 * centred if name.lower().endswith("norm.weight") else 0.2 * centred


def fill(parameters: Mapping[str, Tensor]) -> None:
    """Give each parameter the weights of its name."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weight(name, parameter.shape))


def backbone(kind: str, dtype: torch.dtype = torch.float64, **sizes: Any) -> Backbone:
    """Return the small model of the fixtures; float64 leaves no rounding to tell apart from a difference."""
    made = load_backbone(tiny_spec(kind, **{**SIZES, **sizes}), output_layer(("yes", "no")), seed=0)
    made.model.resize_token_embeddings(TOKENS, mean_resizing=False)  # no text is read: tokens are those of `batch`
    made.model.to(dtype)
    fill(dict(made.model.named_parameters()))
    return made


def batch(step: int, size: int = 6, length: int = 8) -> dict[str, Tensor]:
    """Return token ids in [3, 40) with right padding of 0, attention mask and binary labels."""
    lengths = 3 + numbers(f"lengths {step}", size) % (length - 2)
    mask = (torch.arange(length)[None, :] < lengths[:, None]).long()
    ids = (3 + numbers(f"ids {step}", size * length) % 37).view(size, length)
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": numbers(f"labels {step}", size) % 2}


def probe(value: Tensor) -> Tensor:
    """Return numbers in [-0.5, 0.5) to multiply a tensor with: a change of any entry shows in the sum."""
    return numbers("probe", value.numel()).view(value.shape).double() / PRIME - 0.5


def summary(tensors: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """Return of each tensor its length and its product with the probe."""
    return {name: [float(t.norm()), float((t.double() * probe(t)).sum())] for name, t in tensors.items()}


def movement(parameters: Mapping[str, Tensor]) -> dict[str, list[float]]:
    """Return the summary of how each parameter moved from the weights of its name."""
    return summary({name: p.detach().double() - weight(name, p.shape) for name, p in parameters.items()})


def assert_same(found: Mapping[str, list[float]], expected: Mapping[str, list[float]], relative: float) -> None:
    """Compare summaries, each number to a share of its tensor's length."""
    assert found.keys() == expected.keys()
    for name, (length, product) in expected.items():
        allowed = relative * length + 1e-12
        assert found[name] == [pytest.approx(length, abs=allowed), pytest.approx(product, abs=allowed)], name


def train(
    attached: Attached,
    steps: int,
    rate: float,
    decay: float,
    after: Callable[[int], None],
    linear: bool = True,
    huggingface_eps: float | None = None,
) -> list[float]:
    """Take optimiser steps as a run does, clipped to 1, and return the gradients' norms before clipping.

    Args:
        after: called with the number of each step when it is taken, its gradients still there.
        linear: whether the rate falls to 0 over the steps.
        huggingface_eps: eps of the AdamW that was once in transformers. It is added before the second moment's bias
            is corrected, PyTorch's after it: the same number divided by the root of that correction.
    """
    optimiser = build_optimiser(attached.parameter_groups(), rate, decay)
    schedule = build_schedule(optimiser, steps, 0.0)
    norms = []
    for step in range(steps):
        attached.backbone.model(**batch(step)).loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(attached.backbone.model.parameters(), 1.0)))
        attached.after_clipping()
        for group in optimiser.param_groups if huggingface_eps else []:
            group["eps"] = huggingface_eps / (1 - 0.999 ** (step + 1)) ** 0.5
        optimiser.step()
        attached.after_step()
        after(step)
        if linear:
            schedule.step()
        optimiser.zero_grad()
    return norms
