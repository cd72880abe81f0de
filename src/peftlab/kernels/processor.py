"""What a device computes natively, which decides what is fast on it: the names that torch keeps to itself are here."""

import os
import platform
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

# Sets of instructions to which oneDNN can be held (ONEDNN_MAX_CPU_ISA) and in which it has no product in bfloat16.
_WITHOUT_BF16 = {"SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"}
_ROUNDS = 3


def _constant(function: Callable[[], bool]) -> Callable[[], bool]:
    # torch.compiler.assume_constant_result, which would import the compiler: a compiled model asks once, and its graph
    # goes on through each linear layer.
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@cache
def onednn_has_avx512() -> bool:
    """Return whether oneDNN runs on AVX-512 here: the processor has it, and nobody holds oneDNN to less."""
    return torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_supported() and _onednn_takes_bf16()


@cache
@_constant
def onednn_outruns_mkl() -> bool:
    """Return whether products in float32 go faster by oneDNN than by MKL, which torch asks: on AVX-512 not of Intel's.

    MKL takes its AVX-512 path on Intel's CPUs only. On an AMD EPYC with torch 2.13 a product of 640 x 768 by 768 x 768
    runs at 96 Gflop/s a core, with oneDNN at 197. On an Intel Xeon of 2.5 GHz one of 2048 x 768 by 768 x 3072 runs at
    127, with oneDNN at 116, and the gradient of a weight at 125 against 66.
    """
    return onednn_has_avx512() and not (torch.backends.mkl.is_available() and _is_intels())


def has_native_bf16(device: str) -> bool:
    """Return whether a type of device multiplies bfloat16 in hardware: a GPU since Ampere, AVX512-BF16, AMX, ARM's own.

    Args:
        device: as torch names it, ``cpu`` or ``cuda``; of others nothing is known.
    """
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return _onednn_takes_bf16()
    held_to = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "").upper()
    native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return native and held_to not in _WITHOUT_BF16


def bf16_over_float32(device: str) -> float:
    """Return how many times as long as in float32 a product takes in bfloat16, measured now, in a tenth of a second."""
    inputs, weight = (torch.ones(rows, 768, device=device) for rows in (256, 768))
    return _fastest(partial(F.linear, inputs.bfloat16(), weight.bfloat16())) / _fastest(
        partial(F.linear, inputs, weight)
    )


def _is_intels() -> bool:
    listed = Path("/proc/cpuinfo")  # elsewhere the name of the processor holds that of its maker
    return "GenuineIntel" in (listed.read_text() if listed.is_file() else platform.processor())


def _onednn_takes_bf16() -> bool:
    # By the instructions that oneDNN may use: on x86 from AVX-512 on, whether or not they multiply bfloat16.
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _fastest(work: Callable[[], Tensor]) -> float:
    """Return the seconds of the fastest of some rounds, the first not counted."""
    found = []
    for _ in range(_ROUNDS + 1):
        begun = time.perf_counter()
        float(work()[0, 0])  # a device has then finished
        found.append(time.perf_counter() - begun)
    return min(found[1:])
