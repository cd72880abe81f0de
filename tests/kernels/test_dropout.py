"""Dropout drawn in bulk: torch's distribution, torch's seeds, torch's random state."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from peftlab.kernels.dropout import Dropout, dropout, use_fast_dropout

TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
COUNT = 200_000


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@TYPES
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_elements_are_dropped_at_the_rate_and_the_rest_scaled(dtype, p):
    outputs = dropout(torch.ones(COUNT, dtype=dtype), p)
    dropped = (outputs == 0).double().mean().item()
    # Five deviations of a share of so many draws.
    assert dropped == pytest.approx(p, abs=5 * (p * (1 - p) / COUNT) ** 0.5)
    (kept,) = outputs[outputs != 0].unique().tolist()
    assert kept == pytest.approx(1 / (1 - p), rel=5e-3 if dtype == torch.bfloat16 else 1e-4)


def test_neighbours_are_dropped_independently():
    dropped = (dropout(torch.ones(COUNT), 0.3) == 0).double() - 0.3
    for distance in (1, 2, 3, 4, 8, 64):
        together = (dropped[:-distance] * dropped[distance:]).mean().item() / 0.21
        assert abs(together) < 5 / COUNT**0.5, distance


def test_two_calls_drop_differently_and_a_seed_repeats_them():
    torch.manual_seed(3)
    first, second = dropout(torch.ones(1000), 0.5), dropout(torch.ones(1000), 0.5)
    torch.manual_seed(3)
    assert torch.equal(dropout(torch.ones(1000), 0.5), first)
    assert torch.equal(dropout(torch.ones(1000), 0.5), second)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(1,), (3, 5), (2, 3, 7)])
@TYPES
def test_a_gradient_passes_where_its_element_did(shape, dtype):
    inputs = torch.randn(shape, dtype=dtype, requires_grad=True)
    outputs = dropout(inputs, 0.5)
    outputs.backward(torch.ones_like(outputs))
    assert outputs.shape == inputs.shape
    torch.testing.assert_close(inputs.grad * inputs.detach(), outputs.detach())


def test_gradients_agree_with_finite_differences():
    def seeded(inputs):
        torch.manual_seed(1)
        return dropout(inputs, 0.5)

    assert torch.autograd.gradcheck(seeded, torch.randn(3, 4, dtype=torch.float64, requires_grad=True))


def test_gradient_checkpointing_draws_the_same_again():
    inputs = torch.randn(50, requires_grad=True)
    outputs = checkpoint(Dropout(0.5).train(), inputs, use_reentrant=False)
    outputs.sum().backward()
    assert torch.equal(inputs.grad != 0, outputs != 0)


@pytest.mark.parametrize(("p", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_ends_of_the_range_are_exact(p, expected):
    assert dropout(torch.ones(100), p).unique().tolist() == [expected]


def test_evaluation_changes_nothing():
    inputs = torch.randn(20)
    assert torch.equal(Dropout(0.5).eval()(inputs), inputs)


def test_every_dropout_of_a_model_is_replaced_in_its_mode_and_nothing_else():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.3), nn.Sequential(nn.Dropout(0.4))).eval()
    linear = model[0]
    use_fast_dropout(model)
    assert model[0] is linear
    found = [(module.p, module.training) for module in model.modules() if isinstance(module, Dropout)]
    assert found == [(0.3, False), (0.4, False)]


def test_a_compiled_function_is_one_graph_that_drops_what_the_plain_one_drops():
    inputs = torch.randn(50, 40)
    found = []
    for function in (dropout, torch.compile(dropout, backend="aot_eager", fullgraph=True)):
        torch.manual_seed(3)
        given = inputs.clone().requires_grad_()
        # Of two alike each is drawn for itself.
        outputs = [function(given, 0.25) for _ in range(2)]
        (outputs[0] + 2 * outputs[1]).sum().backward()
        found.append([*outputs, given.grad])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert not torch.equal(*found[1][:2])


def test_a_compiled_function_draws_each_of_its_masks():
    def both(given):
        return dropout(given, 0.25), dropout(given, 0.25)

    torch.manual_seed(3)
    expected = both(torch.ones(50, 40))
    torch.manual_seed(3)
    found = torch.compile(both, backend="aot_eager", fullgraph=True)(torch.ones(50, 40))
    assert not torch.equal(*found)
    assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
