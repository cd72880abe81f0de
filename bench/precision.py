"""bf16-mixed against fp32 on a CPU: a HiFi step of the shape of `bench.steps`, with AVX-512 and held to AVX2."""

import os
import subprocess
import sys

import torch

from bench.models import HALF_BASE, Shape, batch, our_step, plain, spread_heads, their_step
from bench.paired import alternate
from bench.report import Row, faster, publish, slower

ROUNDS = 7
HELD = {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"}


def measure(shape: Shape, size: int, length: int, rounds: int) -> list[Row]:
    """Return the rows of bf16-mixed against float32, ours and transformers' own."""
    inputs, heads = batch(shape, size, length), spread_heads(shape)
    seconds = alternate(
        {
            "bf16": our_step("hifi", shape, inputs, selection=heads, precision=torch.bfloat16),
            "fp32": our_step("hifi", shape, inputs, selection=heads),
            "their bf16": their_step(plain(shape), inputs, torch.bfloat16),
            "their fp32": their_step(plain(shape), inputs),
        },
        rounds,
    )
    # By torch.profiler: products are two thirds of the bf16 step and 2.5 times as fast as ours in fp32, which are twice
    # as fast as torch's own on an AMD CPU. To cast a frozen matrix takes 0.1 ms, its product 11: nothing is gained by
    # keeping it in bf16.
    note = "our fp32 products are twice as fast as torch's; a third of the step is no product"
    return [
        faster("HiFi step, bf16-mixed", "the same in fp32", seconds["bf16"], seconds["fp32"], 1.8, note),
        faster(
            "full fine-tuning, transformers, bf16-mixed",
            "the same in fp32",
            seconds["their bf16"],
            seconds["their fp32"],
        ),
    ]


def measure_held(shape: Shape, size: int, length: int, rounds: int) -> list[Row]:
    """Return the rows of a processor without AVX-512: bf16, which is emulated, and our products in fp32."""
    inputs, heads = batch(shape, size, length), spread_heads(shape)
    seconds = alternate(
        {
            "bf16": our_step("hifi", shape, inputs, selection=heads, precision=torch.bfloat16),
            "fp32": our_step("hifi", shape, inputs, selection=heads),
            "our full": our_step("full", shape, inputs),
            "their full": their_step(plain(shape), inputs),
        },
        rounds,
    )
    return [
        slower("HiFi step, bf16-mixed", "the same in fp32", seconds["bf16"], seconds["fp32"], note="emulated"),
        faster("full fine-tuning, fp32", "transformers", seconds["our full"], seconds["their full"], 1.0),
    ]


def main() -> None:
    """Measure and publish; a process of its own is held to AVX2, since libraries ask once what they may use."""
    shape = "6 layers, 768 wide, batch"
    if HELD.items() <= os.environ.items():
        rows = measure_held(HALF_BASE, 4, 128, 3)
        publish("precision-avx2", f"A CPU held to AVX2 ({' '.join(HELD)}): {shape} 4 x 128", rows)
    else:
        publish("precision", f"bf16-mixed on a CPU: {shape} 16 x 128", measure(HALF_BASE, 16, 128, ROUNDS))
        subprocess.run([sys.executable, "-m", "bench.precision"], env=os.environ | HELD, check=True)


if __name__ == "__main__":
    main()
