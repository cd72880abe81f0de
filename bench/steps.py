"""A training step of HiFi against full fine-tuning and LoRA: 6 layers, 768 wide, batch 16 x 128, float32."""

from collections.abc import Callable
from typing import cast

import torch
from peft import LoraConfig, get_peft_model
from torch import nn

from bench.models import HALF_BASE, Shape, backbone, batch, our_step, plain, saved_bytes, spread_heads, their_step
from bench.paired import Seconds, alternate
from bench.report import Row, publish, single, slower
from peftlab.strategies.registry import create_strategy

ROUNDS = 7
BATCH = (16, 128)
_RIVALS = {"full": "full fine-tuning", "lora": "peft LoRA r=8"}
_TARGETS = {("hifi", "full"): 0.60, ("hifi", "lora"): 1.00, ("mid-top", "full"): 0.46, ("mid-top", "lora"): 0.78}


def measure(
    shape: Shape, size: int, length: int, rounds: int, precision: torch.dtype = torch.float32, device: str = "cpu"
) -> list[Row]:
    """Return the rows of steps with batches [size, length]; rivals are as transformers and peft make them."""
    inputs = batch(shape, size, length, device)
    ways = {
        "our full": ("full", None),
        "our lora": ("lora", None),
        "hifi": ("hifi", spread_heads(shape)),
        "mid-top": ("hifi", spread_heads(shape, upper=True)),
    }
    contenders: dict[str, Callable[[], object]] = {
        "full": their_step(plain(shape), inputs, precision),
        "lora": their_step(lora(shape), inputs, precision),
        **{
            name: our_step(strategy, shape, inputs, selection=selection, precision=precision)
            for name, (strategy, selection) in ways.items()
        },
    }
    return rows(alternate(contenders, rounds, warm_up=2))


def rows(seconds: Seconds) -> list[Row]:
    """Return the rows of the measured seconds: against other libraries, then with the same kernels for both."""
    titles = {"hifi": "HiFi", "mid-top": "HiFi mid-top"}
    pairs = [(ours, rival) for ours in titles for rival in _RIVALS]
    against = [
        slower(f"step: {titles[ours]}", _RIVALS[rival], seconds[ours], seconds[rival], _TARGETS[ours, rival])
        for ours, rival in pairs
    ]
    within = [
        slower(f"step: {titles[ours]}", f"our own {rival}", seconds[ours], seconds[f"our {rival}"], note="same kernels")
        for ours, rival in pairs
    ]
    twins = [
        slower(f"step: our own {rival}", title, seconds[f"our {rival}"], seconds[rival], 1.00)
        for rival, title in _RIVALS.items()
    ]
    return [*against, *within, *twins]


def memory(shape: Shape, size: int, length: int) -> Row:
    """Return the row of what autograd keeps of a forward pass: HiFi mid-top against peft's LoRA."""
    given = {name: value for name, value in batch(shape, size, length).items() if name != "labels"}
    ours = create_strategy("hifi", {}).attach(backbone(shape), spread_heads(shape, upper=True))
    kept, rival = (saved_bytes(model, given) for model in (ours.model.train(), lora(shape).train()))
    note = f"{kept / 2**20:.0f} against {rival / 2**20:.0f} MiB"
    return single("saved activations: HiFi mid-top", "peft LoRA r=8", kept / rival, target=0.52, note=note)


def lora(shape: Shape) -> nn.Module:
    """Return peft's own LoRA, r=8, around transformers' model."""
    return cast(nn.Module, get_peft_model(plain(shape), LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=8)))


def main() -> None:
    """Measure and publish."""
    made = [*measure(HALF_BASE, *BATCH, ROUNDS), memory(HALF_BASE, *BATCH)]
    publish("steps", "A training step: 6 layers, 768 wide, batch 16 x 128, fp32", made)


if __name__ == "__main__":
    main()
