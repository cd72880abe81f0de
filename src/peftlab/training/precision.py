"""The precision of a run: `trainer.precision=auto` is what the device computes natively; what it emulates is told."""

import logging
from collections.abc import Mapping
from typing import Any

import torch

from peftlab.kernels.processor import bf16_over_float32, has_native_bf16

AUTO, HALF, SINGLE = "auto", "bf16-mixed", "32-true"

log = logging.getLogger(__name__)


def resolve_precision(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's configuration with the precision that `auto` stands for on the device it asks for.

    The number itself is the run's setting: two machines that choose otherwise have done two runs.
    """
    trainer = config.get("trainer")
    if not isinstance(trainer, Mapping) or trainer.get("precision") != AUTO:
        return dict(config)
    native = has_native_bf16(_device(trainer.get("accelerator") or AUTO))
    return {**config, "trainer": {**trainer, "precision": HALF if native else SINGLE}}


def warn_if_emulated(precision: str, device: torch.device) -> None:
    """Say by how much a run is slowed down, where its device has no product in bfloat16."""
    if precision.startswith("bf16") and device.type in ("cpu", "cuda") and not has_native_bf16(device.type):
        factor = bf16_over_float32(device.type)
        lacks = "AVX512-BF16 or AMX" if device.type == "cpu" else "native bfloat16"
        log.warning(
            "trainer.precision=%s: without %s a product takes %.1f times as long as in float32 here; "
            "trainer.precision=auto chooses what is fast",
            *(precision, lacks, factor),
        )


def _device(accelerator: str) -> str:
    """Return the type of device that Lightning takes for an accelerator."""
    if accelerator in (AUTO, "gpu"):
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return accelerator
