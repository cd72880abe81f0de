"""Differences to pretrained weights: none at the start, drawn in training, exact when sparse."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from peftlab.layers.difference import GatedDifference, SparseDifference
from peftlab.layers.hard_concrete import HardConcrete

GATES = HardConcrete()


@pytest.fixture
def weights() -> torch.Tensor:
    return torch.randn(6, 5, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("grouped", [True, False])
def test_it_begins_at_the_pretrained_weights(weights: torch.Tensor, grouped: bool) -> None:
    module = GatedDifference(weights, 5.0, GATES, grouped)
    assert torch.equal(module(weights), weights)
    assert torch.equal(module.eval()(weights), weights)
    shapes = {name: list(p.shape) for name, p in module.named_parameters()}
    assert shapes == {"difference": [6, 5], "alpha": [6, 5]} | ({"group_alpha": [1]} if grouped else {})


def test_gates_are_drawn_in_training_alone(weights: torch.Tensor) -> None:
    module = GatedDifference(weights, 0.5, GATES, grouped=False)
    nn.init.ones_(module.difference)
    torch.manual_seed(0)
    assert not torch.equal(module(weights), module(weights))
    module.eval()
    # sigmoid(0.5) * 3 - 1.5 = 0.3674
    torch.testing.assert_close(module(weights), weights + 0.36737901)


@pytest.mark.parametrize(("product", "expected"), [(True, 0.8 * 30 * 0.6), (False, 0.8 + 30 * 0.6)])
def test_the_penalty_counts_open_weights_or_open_gates(weights: torch.Tensor, product: bool, expected: float) -> None:
    module = GatedDifference(weights, 0.0, GATES, grouped=True)
    assert module.group_alpha is not None
    nn.init.constant_(module.alpha, torch.logit(torch.tensor(0.6)).item())
    nn.init.constant_(module.group_alpha, torch.logit(torch.tensor(0.8)).item())
    assert module.expected_open(product).item() == pytest.approx(expected)


def test_a_sample_is_drawn_by_its_generator_alone(weights: torch.Tensor) -> None:
    module = GatedDifference(weights, 0.0, GATES, grouped=True)
    nn.init.ones_(module.difference)
    draws = [module.sampled(weights, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    torch.manual_seed(9)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    closed, opened = (draws[0] == 0).sum(), (draws[0] > 0).sum()
    assert closed > 0
    assert closed + opened == draws[0].numel()


def test_a_sparse_difference_reaches_its_positions_alone_and_merges_exactly(weights: torch.Tensor) -> None:
    linear = nn.Linear(5, 6, bias=False)
    linear.weight = nn.Parameter(weights.clone(), requires_grad=False)
    positions, values = torch.tensor([0, 7, 29]), torch.tensor([1.0, -2.0, 3.0])
    module = SparseDifference(positions, values)
    parametrize.register_parametrization(linear, "weight", module)
    linear(torch.ones(2, 5)).sum().backward()
    assert torch.equal(module.values.grad, torch.full((3,), 2.0))
    tuned = linear.weight.clone()
    assert (tuned - weights).flatten().nonzero().flatten().tolist() == positions.tolist()
    parametrize.remove_parametrizations(linear, "weight", leave_parametrized=True)
    assert type(linear) is nn.Linear
    assert torch.equal(linear.weight, tuned)
