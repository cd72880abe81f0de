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


@pytest.mark.parametrize("init", ["glorot-normal", "glorot-uniform"])
def test_both_factors_and_the_bias_begin_as_the_start_says(init):
    torch.manual_seed(0)
    layer = PHMLinear(shared_rule(4, 1.0), 4, 40_000, init)
    gain = {"glorot-normal": 1.0, "glorot-uniform": 2.0**0.5}[init]
    deviation = gain * (2 / 10_001) ** 0.5
    assert float(layer.right.detach().std()) == pytest.approx(deviation, rel=0.02)
    # A uniform of that deviation ends at sqrt(3) of it, a normal of 40,000 numbers reaches beyond three.
    widest = float(layer.right.detach().abs().max()) / deviation
    assert widest == pytest.approx(3**0.5, rel=0.01) if init == "glorot-uniform" else widest > 3
    assert not layer.bias.any()


def test_the_rule_is_drawn_with_its_deviation():
    torch.manual_seed(0)
    assert float(shared_rule(30, 0.05).detach().std()) == pytest.approx(0.05, rel=0.02)


def test_a_bottleneck_maps_a_width_down_and_up_again():
    module = phm_bottleneck(shared_rule(2, 1.0), 12, 4, "tanh", "glorot-normal")
    assert (module.down.matrix().shape, module.up.matrix().shape) == ((12, 4), (4, 12))
    assert sum(p.numel() for name, p in module.named_parameters() if "rule" not in name) == 3 * (12 + 4)
    inputs = torch.randn(5, 12)
    torch.testing.assert_close(module(inputs), module.up(torch.tanh(module.down(inputs))))
