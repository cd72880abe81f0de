"""The precision of a run: `trainer.precision=auto` is what the device computes natively; what it emulates is told.

In what a frozen backbone is kept depends on it, and on the device.
"""

import logging
from collections.abc import Mapping
from typing import Any

import torch

from peftlab.backbones.quantised import library
from peftlab.backbones.spec import BackboneSpec
from peftlab.errors import require
from peftlab.kernels.processor import bf16_over_float32, has_native_bf16
from peftlab.training.arguments import SHARDED

AUTO, HALF, SINGLE = "auto", "bf16-mixed", "32-true"
_WHOLE = (SINGLE, HALF, "16-mixed")  # in which weights are float32

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


def check_kept(spec: BackboneSpec, trainer: Mapping[str, Any], backend: str | None) -> None:
    """Refuse to keep a frozen backbone in what a run does not compute with.

    Args:
        spec: the backbone.
        trainer: `conf/trainer`, its precision resolved.
        backend: `training.compile`.

    Raises:
        UserError: says what is allowed.
        MissingPackageError: a package that this needs is not installed.
    """
    precision = trainer.get("precision")
    require(
        spec.dtype == "float32" or str(precision).startswith("bf16"),
        f"backbone.dtype={spec.dtype}: trainer.precision={precision}; allowed are bf16-mixed and bf16-true",
    )
    if spec.quantize is None:
        return
    accelerator = trainer.get("accelerator") or AUTO
    device, refused = _device(accelerator), f"backbone.quantize={spec.quantize}: "
    require(
        device == "cuda",
        f"{refused}trainer.accelerator={accelerator} is {device} here; allowed is a CUDA GPU, else quantize=null",
    )
    # What is true in sixteen bits would round the scales.
    require(precision in _WHOLE, f"{refused}trainer.precision={precision}; allowed are {', '.join(_WHOLE)}")
    strategy = trainer.get("strategy")
    require(strategy != SHARDED, f"{refused}trainer.strategy={strategy}; allowed is ddp")
    # Each layer is then of a class of its own, and compiled for itself.
    require(backend is None, f"{refused}training.compile={backend}; allowed is null")
    library(spec.quantize)


def _device(accelerator: str) -> str:
    """Return the type of device that Lightning takes for an accelerator."""
    if accelerator in (AUTO, "gpu"):
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return accelerator
