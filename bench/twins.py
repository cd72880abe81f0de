"""A step of every other strategy against its twin in another library: peft here, adapters in its own environment."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from peft import IA3Config, LoraConfig, PeftConfig, PromptTuningConfig, get_peft_model
from torch import nn

from bench.models import HALF_BASE, Shape, batch, our_step, plain, their_step
from bench.paired import alternate
from bench.report import Row, publish, slower

ROUNDS = 5
ROOT = Path(__file__).resolve().parents[1]
# Where `make test-adapters` puts its environment, unless the variable says otherwise.
ADAPTERS = Path(os.environ.get("PEFTLAB_ADAPTERS_PYTHON", ROOT / ".venv-adapters" / "bin" / "python"))
WORKER = Path(__file__).with_name("adapters_worker.py")

PEFT_TWINS: dict[str, tuple[dict[str, Any], PeftConfig]] = {
    "lora": ({}, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=8)),
    "ia3": ({}, IA3Config(task_type="SEQ_CLS")),
    "prompt": ({}, PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=20)),
}
ADAPTERS_TWINS: dict[str, tuple[dict[str, Any], str]] = {
    "adapter": ({"bottleneck": 64}, "double_seq_bn[reduction_factor=12]"),
    "compacter": ({"bottleneck": 24}, "compacter[reduction_factor=32]"),
    "prefix": ({}, "prefix_tuning"),
}


def by_hand(shape: Shape, tunes: Callable[[str], bool]) -> nn.Module:
    """Return transformers' model in which only the parameters that `tunes` names and the classifier are free."""
    model = plain(shape)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(tunes(name) or name.startswith("classifier"))
    return model


def against_peft(shape: Shape, size: int, length: int, rounds: int) -> list[Row]:
    """Return the rows of strategies whose twin is peft's, or a few lines on transformers' model."""
    inputs = batch(shape, size, length)
    rivals: dict[str, tuple[str, dict[str, Any], nn.Module]] = {
        name: ("peft", options, cast(nn.Module, get_peft_model(plain(shape), config)))
        for name, (options, config) in PEFT_TWINS.items()
    }
    rivals["bitfit"] = ("requires_grad by hand", {}, by_hand(shape, lambda name: name.endswith("bias")))
    rivals["classifier"] = ("requires_grad by hand", {}, by_hand(shape, lambda name: False))
    made = []
    for name, (library, options, model) in rivals.items():
        ours, theirs = our_step(name, shape, inputs, options), their_step(model, inputs)
        seconds = alternate({"ours": ours, "theirs": theirs}, rounds)
        made.append(slower(f"step: {name}", library, seconds["ours"], seconds["theirs"], 1.00))
    return made


def against_adapters(shape: Shape, size: int, length: int, rounds: int) -> list[Row]:
    """Return the rows of strategies whose twin is the adapters library's, in alternating processes."""
    inputs, made = batch(shape, size, length), []
    with worker() as ask:
        for name, (options, config) in ADAPTERS_TWINS.items():
            ask({"shape": shape.sizes(), "size": size, "length": length, "config": config})
            ours = our_step(name, shape, inputs, options)
            seconds = alternate({"ours": ours, "theirs": lambda: ask("step")}, rounds)
            made.append(slower(f"step: {name}", f"adapters, {config}", seconds["ours"], seconds["theirs"], 1.00))
    return made


@contextmanager
def worker(python: Path = ADAPTERS, script: Path = WORKER) -> Iterator[Callable[[object], float]]:
    """Give a function that sends a line to the adapters library's process and returns the seconds it answers."""
    command = [str(python), "-W", "ignore", str(script)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(message: object) -> float:
        to, back = cast(IO[str], process.stdin), cast(IO[str], process.stdout)
        to.write(json.dumps(message) + "\n")
        to.flush()
        answer = back.readline()
        if not answer:
            raise RuntimeError(f"the process of the adapters library ended at {message}")
        return float(answer)

    try:
        yield ask
    finally:
        process.communicate()


def main() -> None:
    """Measure and publish; without the adapters library its rows are left out, and it is said why."""
    made = against_peft(HALF_BASE, 16, 128, ROUNDS)
    if ADAPTERS.exists():
        made += against_adapters(HALF_BASE, 16, 128, ROUNDS)
    else:
        print(f"left out: the adapters library's steps; {ADAPTERS} is not there (make test-adapters)")
    publish("twins", "A step of every other strategy: 6 layers, 768 wide, batch 16 x 128, fp32", made)


if __name__ == "__main__":
    main()
