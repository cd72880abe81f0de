"""What a choice of heads shares with either metric alone, against scipy and by hand."""

import pytest
import torch
from scipy.stats import spearmanr

from peftlab.heads.agreement import agreement


def draw(layers: int = 4, heads: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(layers, heads, heads, generator=generator, dtype=torch.float64)
    richness = torch.randint(0, 5, (layers, heads), generator=generator).double()  # many are tied
    return torch.rand(layers, heads, generator=generator, dtype=torch.float64), weights + weights.mT, richness


def test_rank_correlations_are_scipys_over_the_layers_that_are_tuned() -> None:
    ranking, correlation, richness = draw()
    heads = [(), (0, 1), (2,), (0, 3, 7)]
    found = agreement(ranking, correlation, richness, heads)
    for name, metric in (("degree", correlation.sum(1)), ("richness", richness)):
        each = [spearmanr(ranking[layer], metric[layer]).statistic for layer in (1, 2, 3)]
        assert found[name]["spearman"] == pytest.approx(sum(each) / 3)
        # By definition: the best of the metric, the lower head among equals, as many as were chosen.
        best = [sorted(range(8), key=lambda head, row=row: (-row[head], head)) for row in metric.tolist()]
        shared = [set(own) & set(top[: len(own)]) for own, top in zip(heads, best, strict=True)]
        assert found[name]["heads"] == sum(map(len, shared))


def test_a_metric_that_ranked_shares_all_and_one_that_is_constant_has_no_rank_correlation() -> None:
    _, correlation, richness = draw()
    degree = correlation.sum(-1)
    heads = [tuple(sorted(row.argsort(descending=True)[:3].tolist())) for row in degree]
    found = agreement(degree, correlation, torch.ones_like(richness), heads)
    assert found["degree"] == {"spearman": pytest.approx(1.0), "heads": 12}
    assert found["richness"]["spearman"] is None


def test_heads_that_are_chosen_as_one_are_compared_by_their_mean() -> None:
    ranking = torch.tensor([[4.0, 0.0, 1.0, 1.0]], dtype=torch.float64)
    richness = torch.tensor([[9.0, 0.0, 5.0, 5.0]], dtype=torch.float64)
    correlation = torch.eye(4, dtype=torch.float64)[None]
    found = agreement(ranking, correlation, richness, [(0, 1)], size=2)
    assert found["richness"] == {"spearman": pytest.approx(-1.0), "heads": 0}
    assert agreement(ranking, correlation, richness, [(0,)])["richness"]["heads"] == 1
