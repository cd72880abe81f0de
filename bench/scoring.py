"""Scoring all heads: against the bare forward passes, against the paper's way, as n and layers grow, and its memory."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from transformers import PreTrainedModel

from bench.models import BASE, LARGE, Shape, backbone, plain
from bench.paired import alternate, timed
from bench.report import Row, faster, publish, single, slower
from peftlab.backbones.loading import Backbone
from peftlab.backbones.modality import encoder_for, longest_text
from peftlab.data.batching import cut, shortest_first
from peftlab.heads.correlation import head_correlation
from peftlab.heads.outputs import head_outputs
from peftlab.heads.richness import cumulative_shares, information_richness
from peftlab.heads.scoring import score_heads
from peftlab.inputs.encoder import Batch, to_device
from peftlab.inputs.tokens import TokenisedSplit

XI, BATCH, LENGTH = 0.9, 32, 128
# By timing each part on a batch of 32: of 36 ms a layer, LAPACK takes 18 to 24, the Gram matrices 6.
EIGENVALUES = "over half of the scoring is LAPACK: eigenvalues of 64 x 64 in float64, 0.09 ms each on a core"
SMALL = Shape(6, 4, 128, vocabulary=1000)
MEASURED_MEMORY = {"small": SMALL, "deep": Shape(24, 4, 128, vocabulary=1000), "large": LARGE}


def examples(shape: Shape, number: int, length: int = LENGTH) -> TokenisedSplit:
    """Return tokenised examples of one length, without text behind them."""
    generator = torch.Generator().manual_seed(0)
    return TokenisedSplit(
        ids=torch.randint(5, shape.vocabulary, (number * length,), generator=generator, dtype=torch.int32),
        offsets=torch.arange(number + 1) * length,
        type_ids=None,
        labels=torch.zeros(number, dtype=torch.long),
        truncated=torch.zeros(number, dtype=torch.bool),
    )


def score(made: Backbone, split: TokenisedSplit, batch_size: int = BATCH) -> object:
    """Score all heads on the CPU."""
    return score_heads(made, batches(made, split, batch_size), XI)


def batches(made: Backbone, split: TokenisedSplit, size: int, device: torch.device | None = None) -> Iterator[Batch]:
    """Yield the examples as a run does, on the CPU unless another device is named."""
    encoder = encoder_for(made.processor, longest_text(made.processor) or LENGTH)
    for chosen in cut(shortest_first(split.lengths), size):
        yield to_device(encoder.collate([split[index] for index in chosen]), device or torch.device("cpu"))


@torch.no_grad()
def forward(model: PreTrainedModel, split: TokenisedSplit) -> None:
    """Run the bare forward passes over the same examples."""
    ids = split.ids.view(len(split), -1).long()
    for piece in ids.split(BATCH):
        model.base_model(input_ids=piece, attention_mask=torch.ones_like(piece))


def against_forward(shape: Shape, number: int) -> list[Row]:
    """Return the rows of scoring n examples: every batch is scored and passed forward in turns."""
    ours, theirs = backbone(shape), plain(shape).eval()
    piece = examples(shape, BATCH)
    contenders: dict[str, Callable[[], object]] = {
        "scoring": lambda: score(ours, piece),
        "forward": lambda: forward(ours.model, piece),
        "plain": lambda: forward(theirs, piece),
    }
    seconds = alternate(contenders, max(1, round(number / BATCH)))
    note = f"{sum(seconds['scoring']):.1f} s in all"
    what = f"scoring all heads, n={number}"
    return [
        slower(what, "forward passes, as transformers makes them", seconds["scoring"], seconds["plain"], 1.10, note),
        slower(what, "forward passes, with our products", seconds["scoring"], seconds["forward"], 1.10, EIGENVALUES),
    ]


def against_the_papers_way(shape: Shape, number: int) -> list[Row]:
    """Return the rows of the statistics alone, on the same outputs, and whether both find the same richness."""
    made, split = backbone(shape), examples(shape, number)
    ids = split.ids.view(number, -1).long()
    mask, kept = torch.ones_like(ids), {}
    with torch.no_grad(), head_outputs(made.view, lambda layer, outputs: kept.update({layer: outputs.clone()})):
        made.model.base_model(input_ids=ids, attention_mask=mask)
    outputs = list(kept.values())
    seconds = alternate(
        {
            "ours": lambda: [(richness(one, mask), head_correlation(one, mask)) for one in outputs],
            "svd": lambda: [(one_by_one(one), correlated_pair_by_pair(one)) for one in outputs],
        },
        rounds=2,
        warm_up=0,
    )
    differing = max(float((richness(one, mask) - one_by_one(one.double())).abs().max()) for one in outputs)
    return [
        faster("the scoring part", "torch.svd head by head", seconds["ours"], seconds["svd"], 5.0, EIGENVALUES),
        single("richness, largest difference", "the same with float64 SVD", differing, "values", 0.0),
    ]


def richness(outputs: Tensor, mask: Tensor) -> Tensor:
    """Return the information richness of every head as the laboratory counts it: [B, H]."""
    return information_richness(cumulative_shares(outputs, mask), XI)


def one_by_one(outputs: Tensor) -> Tensor:
    """Return the richness of every head as Algorithm 1 has it: a decomposition for each head of each example."""
    heads = outputs.transpose(1, 2)
    return torch.tensor([[_richness(torch.svd(head).S) for head in example] for example in heads], dtype=torch.float64)


def correlated_pair_by_pair(outputs: Tensor) -> list[float]:
    """Return |covariance| of each two heads' means (Eq. 5-6), one pair after the other."""
    means = outputs.mean(1)
    pairs = torch.combinations(torch.arange(means.shape[1])).tolist()
    return [float(torch.cov(example[pair])[0, 1].abs()) for example in means for pair in pairs]


def _richness(values: Tensor) -> int:
    return int((values.cumsum(0) < XI * values.sum() * (1 - 1e-12)).sum()) + 1


def growth() -> list[Row]:
    """Return the rows of time and memory as examples and layers grow."""
    few, many = examples(SMALL, 100), examples(SMALL, 1000)
    flat, deep = backbone(SMALL), backbone(MEASURED_MEMORY["deep"])
    for made in (flat, deep):
        score(made, few)
    tens = sorted(timed(lambda: score(flat, many)) / timed(lambda: score(flat, few)) for _ in range(3))
    fours = sorted(timed(lambda: score(deep, few)) / timed(lambda: score(flat, few)) for _ in range(5))
    base, more, deeper = (peak(name, n) for name, n in (("small", 100), ("small", 1000), ("deep", 100)))
    return [
        single("time, n 100 -> 1000", "linear: 10 x", tens[1], "x", 10.5),
        single("time, layers 6 -> 24", "linear: 4 x", fours[2], "x", 4.2),
        single("peak memory, n 100 -> 1000", "the same n=100", more["peak"] / base["peak"], "x", 1.05),
        single(
            "peak memory, layers 6 -> 24",
            "6 layers, and the weights of 18 more",
            (deeper["peak"] - deeper["weights"]) / (base["peak"] - base["weights"]),
            "x",
            1.05,
        ),
    ]


def large_memory() -> Row:
    """Return the row of what scoring BERT-large takes at its peak."""
    found = peak("large", 8)
    # Hidden states, feed-forward values and head outputs of a batch, each at most twice at once.
    activations = 8 * LENGTH * LARGE.width * 4 * 2 * (1 + 4 + 1)
    note = f"{found['grown'] / 2**20:.0f} MiB beyond an empty process, weights {found['weights'] / 2**20:.0f}"
    share = (found["grown"] - activations) / found["weights"]
    return single("peak memory of scoring BERT-large", "its weights, and a batch's activations", share, "x", 1.3, note)


def peak(name: str, number: int) -> dict[str, int]:
    """Return peak, growth since the model was made and bytes of the weights, measured in a process of its own."""
    command = [sys.executable, "-m", "bench.scoring", name, str(number)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {key: int(value) for key, value in json.loads(done.stdout.splitlines()[-1]).items()}


def _measure_peak(name: str, number: int) -> None:
    from peftlab.results.environment import PeakMemory

    shape = MEASURED_MEMORY[name]
    # Libraries load what they need on first use; that is no part of the scoring.
    score(backbone(Shape(1, 2, 32, vocabulary=200)), examples(Shape(1, 2, 32, vocabulary=200), 2))
    with PeakMemory("cpu") as empty:
        pass
    made = backbone(shape)
    weights = sum(p.numel() * p.element_size() for p in made.model.parameters())
    with PeakMemory("cpu") as memory:
        score(made, examples(shape, number), batch_size=min(8, number))
    grown = memory.peak_bytes - empty.peak_bytes
    print(json.dumps({"peak": memory.peak_bytes, "grown": grown, "weights": weights}))


def main() -> None:
    """Measure and publish; with a model's name and n, print what scoring it takes in memory."""
    if len(sys.argv) > 1:
        _measure_peak(sys.argv[1], int(sys.argv[2]))
        return
    made = [*against_forward(BASE, 300), *against_the_papers_way(BASE, BATCH), *growth(), large_memory()]
    publish("scoring", "Scoring all heads: BERT-base shape, 128 tokens, fp32", made)


if __name__ == "__main__":
    main()
