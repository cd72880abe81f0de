"""PHM layers against the plain definition: a sum of Kronecker products."""

import pytest
import torch

from peftlab.layers.phm import PHMLinear, phm_bottleneck, shared_rule


@pytest.mark.parametrize(("n", "inputs", "outputs"), [(1, 3, 5), (2, 6, 4), (4, 32, 8), (4, 8, 32)])
def test_the_matrix_is_the_sum_of_kronecker_products(n, inputs, outputs):
    torch.manual_seed(0)
    layer = PHMLinear(shared_rule(n, 1.0), inputs, outputs, "glorot-normal")
    expected = sum(torch.kron(layer.rule[i], layer.left[i] @ layer.right[i]) for i in range(n))
    torch.testing.assert_close(layer.matrix(), expected)
    x = torch.randn(2, 3, inputs)
    torch.testing.assert_close(layer(x), x @ expected + layer.bias)


def test_the_rule_gathers_gradient_from_every_layer_that_shares_it():
    torch.manual_seed(0)
    rule = shared_rule(4, 0.1)
    bottlenecks = [phm_bottleneck(rule, 16, 8, "gelu", "glorot-normal") for _ in range(2)]
    x = torch.randn(5, 16)
    apart = [torch.autograd.grad(module(x).square().sum(), rule)[0] for module in bottlenecks]
    together = torch.autograd.grad(sum(module(x).square().sum() for module in bottlenecks), rule)[0]
    assert all(gradient.abs().sum() > 0 for gradient in apart)
    torch.testing.assert_close(together, apart[0] + apart[1])


@pytest.mark.parametrize("init", ["glorot-normal", "glorot-uniform"])
def test_factors_have_the_deviation_of_their_own_fans(init):
    torch.manual_seed(0)
    layer = PHMLinear(shared_rule(4, 1.0), 40_000, 4, init)
    gain = {"glorot-normal": 1.0, "glorot-uniform": 2.0**0.5}[init]
    assert float(layer.left.detach().std()) == pytest.approx(gain * (2 / 10_001) ** 0.5, rel=0.02)
