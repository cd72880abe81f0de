"""What holds of richness, correlation and selection whatever the heads give out: on drawn outputs, masks and scores."""

from typing import Any, NamedTuple

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from peftlab.heads.correlation import head_correlation
from peftlab.heads.richness import cumulative_shares, information_richness, singular_values
from peftlab.heads.selection import HeadScores, select_heads

few = settings(max_examples=40, deadline=None)
WALK: dict[str, Any] = {"d": 0.85, "eps": 1e-5, "max_iter": 100, "orientation": "column", "teleport": "richness"}
SCORES = ["pagerank", "pagerank-inverse", "richness", "richness-inverse", "correlation", "random"]


def richness_of(outputs: Tensor, mask: Tensor, xi: float) -> Tensor:
    return information_richness(cumulative_shares(outputs, mask), xi)


class Case(NamedTuple):
    outputs: Tensor
    mask: Tensor
    draw: torch.Generator

    def shuffled(self, size: int) -> Tensor:
        return torch.randperm(size, generator=self.draw)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Outputs [B, S, H, D'] of low or full rank, and a mask that may leave an example without tokens."""
    batch, length, heads, size = (draw(st.integers(1, most)) for most in (3, 8, 4, 6))
    rank = draw(st.integers(0, size))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    left = torch.randn(batch, length, heads, rank, generator=generator, dtype=torch.float64)
    right = torch.randn(rank, size, generator=generator, dtype=torch.float64)
    mask = (torch.rand(batch, length, generator=generator) < draw(st.sampled_from([0.5, 1.1]))).long()
    return Case(left @ right, mask, generator)


xis = st.floats(0.05, 0.999)


@few
@given(cases(), xis)
def test_richness_lies_between_nothing_and_the_rank(case: Case, xi: float) -> None:
    richness = richness_of(case.outputs, case.mask, xi)
    real = (case.outputs * case.mask[:, :, None, None]).transpose(1, 2)
    assert richness.dtype == torch.float64
    assert (richness == richness.round()).all()
    assert (richness <= torch.linalg.matrix_rank(real)).all()
    assert torch.equal(richness == 0, (real == 0).all(-1).all(-1))


@few
@given(cases(), xis)
def test_richness_and_correlation_ask_neither_for_the_order_of_tokens_nor_for_pads(case: Case, xi: float) -> None:
    order = case.shuffled(case.mask.shape[1])
    pads = torch.full((len(case.mask), 3, *case.outputs.shape[2:]), float("nan"), dtype=torch.float64)
    outputs = torch.cat([pads, case.outputs[:, order]], dim=1)
    mask = torch.cat([torch.zeros(len(pads), 3, dtype=torch.long), case.mask[:, order]], dim=1)
    richness = richness_of(case.outputs, case.mask, xi)
    assert torch.equal(richness_of(outputs, mask, xi), richness)
    torch.testing.assert_close(head_correlation(outputs, mask), head_correlation(case.outputs, case.mask))


@few
@given(cases())
def test_singular_values_are_those_of_the_svd_and_do_not_turn_with_the_features(case: Case) -> None:
    size = case.outputs.shape[-1]
    turn = torch.linalg.qr(torch.randn(size, size, generator=case.draw, dtype=torch.float64)).Q
    values = singular_values(case.outputs, case.mask)
    expected = torch.linalg.svdvals((case.outputs * case.mask[:, :, None, None]).transpose(1, 2))
    torch.testing.assert_close(values, expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(singular_values(case.outputs @ turn, case.mask), values, rtol=1e-6, atol=1e-6)


@few
@given(cases(), st.floats(-3, 3), st.floats(-3, 3))
def test_correlation_is_symmetric_not_negative_and_as_large_as_its_heads(case: Case, scale: float, shift: float):
    correlation = head_correlation(case.outputs, case.mask)
    assert (correlation >= 0).all()
    torch.testing.assert_close(correlation, correlation.mT, rtol=1e-12, atol=0)
    assert (correlation.diagonal(dim1=1, dim2=2) == 0).all()
    # A head times `scale` correlates |scale| times as strongly; what is added to all of its features does not matter.
    changed = case.outputs.clone()
    changed[:, :, 0] = scale * changed[:, :, 0] + shift
    factors = torch.ones(correlation.shape[-1], dtype=torch.float64)
    factors[0] = abs(scale)
    torch.testing.assert_close(
        head_correlation(changed, case.mask), correlation * factors[:, None] * factors, rtol=1e-9, atol=1e-9
    )


@few
@given(cases(), xis)
def test_heads_in_another_order_score_in_that_order(case: Case, xi: float) -> None:
    order = case.shuffled(case.outputs.shape[2])
    outputs = case.outputs[:, :, order]
    richness = richness_of(case.outputs, case.mask, xi)
    assert torch.equal(richness_of(outputs, case.mask, xi), richness[:, order])
    correlation = head_correlation(case.outputs, case.mask)[:, order][:, :, order]
    torch.testing.assert_close(head_correlation(outputs, case.mask), correlation)


@st.composite
def choices(draw: st.DrawFn) -> tuple[HeadScores, dict[str, Any]]:
    """Scores of few different values, so that many are tied, and options that fit them."""
    layers, heads = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    richness = torch.randint(0, 4, (layers, heads), generator=generator).double()
    weights = torch.randint(0, 3, (layers, heads, heads), generator=generator).double()
    correlation = (weights + weights.mT) * (1 - torch.eye(heads, dtype=torch.float64))
    options = {
        "k": draw(st.integers(1, heads)),
        "score": draw(st.sampled_from(SCORES)),
        "variant": draw(st.sampled_from(["layer-wise", "mid-top"])),
        "seed": draw(st.integers(0, 99)),
    }
    return HeadScores(richness, correlation, 7), options


@few
@given(choices())
def test_a_layer_has_its_k_best_heads_in_order_or_none(choice: tuple[HeadScores, dict[str, Any]]) -> None:
    scores, options = choice
    selection = select_heads(scores, **options, **WALK)
    layers, heads = scores.richness.shape
    untuned = layers // 2 if options["variant"] == "mid-top" else 0
    assert [len(layer) for layer in selection.heads] == [0] * untuned + [options["k"]] * (layers - untuned)
    for layer in range(layers):
        # By definition: higher first, the lower index first among equals.
        best = sorted(range(heads), key=lambda head: (-selection.ranking[layer, head].item(), head))
        assert selection.heads[layer] == (() if layer < untuned else tuple(sorted(best[: options["k"]])))
        assert [best.index(head) + 1 for head in range(heads)] == selection.ranks[layer].tolist()
