"""On a CUDA GPU: BERT-large shape, random weights, bf16, batches of 32 x 128. Writes its own part of the page."""

from collections.abc import Callable

import torch
from torch import Tensor

from bench import steps
from bench.models import LARGE, Batch, Shape, backbone, batch, our_step, spread_heads
from bench.paired import alternate
from bench.report import Row, publish, single, slower
from bench.scoring import XI, batches, examples
from peftlab.backbones.loading import Backbone
from peftlab.backbones.spec import Bits
from peftlab.heads.richness import singular_values
from peftlab.heads.scoring import score_heads
from peftlab.heads.selection import ChosenHeads
from peftlab.strategies.registry import create_strategy
from peftlab.training.frozen import keep_frozen, rounded_matrices

BATCH, LENGTH, EXAMPLES, ROUNDS = 32, 128, 300, 7
CODES: tuple[Bits, ...] = ("nf4", "int8")
Step = Callable[[], Tensor]
NO_GPU = "bench.gpu: there is no CUDA GPU here; the other benchmarks measure the CPU"


def scoring(shape: Shape, number: int, device: torch.device) -> Row:
    """Return the row of scoring n examples against the bare forward passes over them."""
    made, split = backbone(shape), examples(shape, number, LENGTH)
    torch.nn.Module.to(made.model, device, torch.bfloat16)
    ids = split.ids.view(number, -1).long().to(device)

    @torch.no_grad()
    def forward() -> None:
        for piece in ids.split(BATCH):
            made.model.base_model(input_ids=piece, attention_mask=torch.ones_like(piece))

    contenders = {"scoring": lambda: score_heads(made, batches(made, split, BATCH, device), XI), "forward": forward}
    seconds = alternate({name: _waited(action) for name, action in contenders.items()}, ROUNDS, warm_up=2)
    what = f"scoring all heads, n={number}"
    note = f"{min(seconds['scoring']):.2f} s"
    return slower(what, "bare forward passes", seconds["scoring"], seconds["forward"], 2.0, note)


def decompositions(shape: Shape, number: int, device: torch.device) -> list[Row]:
    """Return the rows of ways to the singular values of a batch's head outputs, [B, S, H, D'], against what we ship."""
    outputs = torch.randn(number, LENGTH, shape.heads, shape.width // shape.heads, device=device)
    mask = torch.ones(number, LENGTH, dtype=torch.long, device=device)
    heads = outputs.transpose(1, 2).contiguous()

    def gram(dtype: torch.dtype) -> Tensor:
        wide = heads.to(dtype)
        return wide.mT @ wide

    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: singular_values(outputs, mask),
        "svdvals, float32": lambda: torch.linalg.svdvals(heads),
        "svdvals, float64": lambda: torch.linalg.svdvals(heads.double()),
        "eigvalsh of float32 Gram matrices": lambda: torch.linalg.eigvalsh(gram(torch.float32)),
        "eigvalsh of float64 Gram matrices": lambda: torch.linalg.eigvalsh(gram(torch.float64)),
    }
    seconds = alternate({name: _waited(way) for name, way in ways.items()}, ROUNDS, warm_up=2)
    matrices = number * shape.heads
    return [
        slower(f"singular values of {matrices} heads", name, seconds["ours"], seconds[name])
        for name in ways
        if name != "ours"
    ]


def kernels(shape: Shape, inputs: Batch) -> list[Row]:
    """Return the rows of how many kernels a HiFi step starts and what share of it the device is at work."""
    once = our_step("hifi", shape, inputs, selection=spread_heads(shape), precision=torch.bfloat16)
    for _ in range(3):
        once()
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        once()
    events = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    began = min(event.time_range.start for event in events)
    ended = max(event.time_range.end for event in events)
    busy = sum(event.time_range.elapsed_us() for event in events)
    return [
        single("kernels of a HiFi step", "", float(len(events)), "kernels"),
        single("share of the step without a kernel", "", max(0.0, 1 - busy / (ended - began)), ""),
    ]


def codes(shape: Shape, inputs: Batch) -> list[Row]:
    """Return the rows of a frozen backbone in four and eight bits against float32: memory and time of a step.

    A step's loss is that of the same numbers in float32, whose matrices autocast rounds to bf16 as it does theirs.
    """
    rows = []
    for strategy in ("hifi", "lora"):
        chosen = spread_heads(shape) if strategy == "hifi" else None

        def made(bits: Bits | None, strategy: str = strategy, chosen: ChosenHeads | None = chosen) -> Step:
            return our_step(strategy, shape, inputs, selection=chosen, precision=torch.bfloat16, bits=bits)

        whole = _peak(made(None))
        for bits in CODES:
            peak = _peak(made(bits))
            what = f"{strategy}, backbone.quantize={bits}"
            rows.append(
                single(f"{what}: peak memory of a step", "float32", peak / whole, "x", 1.0, f"{peak / 1e6:.0f} MB")
            )
            contenders = {"codes": made(bits), "float32": made(None)}
            seconds = alternate({name: _waited(action) for name, action in contenders.items()}, ROUNDS, warm_up=2)
            rows.append(slower(f"{what}: a step", "float32", seconds["codes"], seconds["float32"]))
    return rows


def exactness(shape: Shape, inputs: Batch) -> list[Row]:
    """Return the rows of how far logits move, in shares of the largest, when numbers are kept as codes."""
    rows = []
    for bits in CODES:
        made = backbone(shape, bits=bits)
        torch.nn.Module.to(made.model, inputs["labels"].device)
        rounded = rounded_matrices(made)
        attached = create_strategy("bitfit", {}).attach(made)
        before = _logits(made, inputs)
        keep_frozen(attached, rounded)
        apart = float((_logits(made, inputs) - before).abs().max() / before.abs().max())
        rows.append(single(f"backbone.quantize={bits}: logits move by", "the same numbers in float32", apart, "", 0.0))
    return rows


@torch.no_grad()
def _logits(made: Backbone, inputs: Batch) -> Tensor:
    given = {name: value for name, value in inputs.items() if name != "labels"}
    with torch.autocast(inputs["labels"].device.type, dtype=torch.bfloat16):
        logits: Tensor = made.model(**given).logits
    return logits.float()


def main() -> None:
    """Measure and publish.

    Raises:
        SystemExit: there is no CUDA GPU; one line says so.
    """
    if not torch.cuda.is_available():
        raise SystemExit(NO_GPU)
    device = torch.device("cuda")
    made = [
        scoring(LARGE, EXAMPLES, device),
        *decompositions(LARGE, BATCH, device),
        *steps.measure(LARGE, BATCH, LENGTH, ROUNDS, torch.bfloat16, "cuda"),
        *kernels(LARGE, batch(LARGE, BATCH, LENGTH, "cuda")),
        *codes(LARGE, batch(LARGE, BATCH, LENGTH, "cuda")),
        *exactness(LARGE, batch(LARGE, BATCH, LENGTH, "cuda")),
    ]
    publish("gpu", f"On a GPU: BERT-large shape, bf16, batch {BATCH} x {LENGTH}", made, device="cuda")


def _peak(step: Step) -> int:
    """Return the most bytes that are allocated on the device while a step is taken, which is alone there."""
    for _ in range(2):
        step()
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated()


def _waited(action: Callable[[], object]) -> Callable[[], object]:
    def whole() -> None:
        action()
        torch.cuda.synchronize()

    return whole


if __name__ == "__main__":
    main()
