"""bf16-mixed against fp32 on a CPU: a HiFi step of the shape of `bench.steps`."""

import torch

from bench.models import HALF_BASE, Shape, batch, our_step, plain, spread_heads, their_step
from bench.paired import alternate
from bench.report import Row, faster, publish

ROUNDS = 7


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
    note = "our fp32 products run twice as fast as torch's on an AMD CPU"
    return [
        faster("HiFi step, bf16-mixed", "the same in fp32", seconds["bf16"], seconds["fp32"], 1.8, note),
        faster(
            "full fine-tuning, transformers, bf16-mixed",
            "the same in fp32",
            seconds["their bf16"],
            seconds["their fp32"],
        ),
    ]


def main() -> None:
    """Measure and publish."""
    publish("precision", "bf16-mixed on a CPU: 6 layers, 768 wide, batch 16 x 128", measure(HALF_BASE, 16, 128, ROUNDS))


if __name__ == "__main__":
    main()
