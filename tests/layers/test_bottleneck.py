"""Bottlenecks in numbers: the function between two linear layers, and what each start draws."""

import math

import pytest
import torch

from peftlab.errors import UserError
from peftlab.layers.bottleneck import linear_bottleneck
from peftlab.strategies.registry import create_strategy

BY_HAND = {
    "swish": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "gelu-tanh": lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    "relu": lambda x: max(x, 0.0),
    "tanh": math.tanh,
}


@pytest.mark.parametrize("nonlinearity", BY_HAND)
def test_it_is_the_scaled_up_projection_of_the_function_of_the_down_projection(nonlinearity):
    torch.manual_seed(0)
    module = linear_bottleneck(3, 2, nonlinearity, "normal", scale=4.0)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    for given in ([1.0, -2.0, 0.5], [-1.0, 0.0, 2.0]):
        inner = torch.tensor([BY_HAND[nonlinearity](x) for x in module.down(torch.tensor(given)).tolist()])
        expected = 4.0 * (module.up.weight @ inner + module.up.bias)
        torch.testing.assert_close(module(torch.tensor(given)), expected)


def test_its_size_is_two_matrices_and_two_biases_and_its_scale_is_one():
    module = linear_bottleneck(10, 3, "relu", "normal")
    assert [tuple(p.shape) for p in module.parameters()] == [(3, 10), (3,), (10, 3), (10,)]
    assert sum(p.numel() for p in module.parameters()) == 2 * 10 * 3 + 10 + 3
    assert module.scale == 1.0


@pytest.mark.parametrize("init", ["normal", "near-identity", "identity"])
def test_biases_begin_at_zero(init):
    module = linear_bottleneck(10, 3, "relu", init)
    assert not module.down.bias.any()
    assert not module.up.bias.any()


def test_normal_has_a_deviation_of_two_hundredths():
    torch.manual_seed(0)
    module = linear_bottleneck(300, 100, "relu", "normal")
    for layer in (module.down, module.up):
        assert float(layer.weight.detach().std()) == pytest.approx(0.02, rel=0.02)
        assert float(layer.weight.detach().mean()) == pytest.approx(0.0, abs=0.0005)
        assert float(layer.weight.detach().abs().max()) > 0.06  # of 30,000 numbers some lie beyond three deviations


def test_near_identity_is_a_normal_cut_at_two_deviations():
    torch.manual_seed(0)
    module = linear_bottleneck(300, 100, "relu", "near-identity")
    for layer in (module.down, module.up):
        # Cut at +-2, a normal has variance 1 - 4 phi(2) / (2 Phi(2) - 1) = 0.7737.
        assert float(layer.weight.detach().std()) == pytest.approx(1e-3 * math.sqrt(0.7737), rel=0.02)
        assert float(layer.weight.detach().min()) == pytest.approx(-2e-3, rel=0.01)
        assert float(layer.weight.detach().max()) == pytest.approx(2e-3, rel=0.01)


def test_identity_begins_with_nothing_behind_a_linear_layers_own_draw():
    torch.manual_seed(0)
    module = linear_bottleneck(400, 50, "relu", "identity")
    assert not module.up.weight.any()
    # nn.Linear draws uniformly from +-1 / sqrt(inputs).
    assert float(module.down.weight.detach().abs().max()) == pytest.approx(1 / 20, rel=0.01)
    assert float(module.down.weight.detach().std()) == pytest.approx(1 / 20 / math.sqrt(3), rel=0.02)


@pytest.mark.parametrize(
    ("strategy", "option", "words"),
    [
        ("adapter", "nonlinearity", ("swish", "gelu", "gelu-tanh", "relu", "tanh")),
        ("adapter", "init", ("normal", "near-identity", "identity")),
        ("adapter", "placement", ("houlsby", "pfeiffer", "feed-forward", "parallel")),
        ("compacter", "init", ("glorot-normal", "glorot-uniform")),
        ("tiny-attention", "init", ("published", "constructor")),
    ],
)
def test_users_name_each_in_these_words_and_no_others(strategy, option, words):
    for word in words:
        assert getattr(create_strategy(strategy, {option: word}), option) == word
    with pytest.raises(UserError, match=f"allowed.*{', '.join(words)}$"):
        create_strategy(strategy, {option: "another"})
