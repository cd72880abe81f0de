"""A layer of which only the columns of chosen heads are tuned: the whole layer in what it gives, and all else still."""

import copy

import pytest
import torch
import torch.nn.functional as F
from products import Products
from torch import nn
from transformers.pytorch_utils import Conv1D

from peftlab.kernels.linear import use_fast_products
from peftlab.layers.head_rows import HeadColumnsLinear, rows_of_heads

D, N = 24, 20
COLUMNS = rows_of_heads((1, 4), 4)
OTHERS = torch.tensor([column for column in range(D) if column not in COLUMNS])
FORM = pytest.mark.parametrize("form", ["linear", "transposed", "without bias"])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def layers(form, dtype=torch.float32):
    """Return a column-tuned layer and the plain one it stands for."""
    plain = Conv1D(N, D) if form == "transposed" else nn.Linear(D, N, bias=form == "linear")
    use_fast_products(plain)
    plain.to(dtype)
    frozen = copy.deepcopy(plain).requires_grad_(False)
    return HeadColumnsLinear(frozen, COLUMNS, axis=int(form == "transposed")), plain


def matrix(layer, gradient=False):
    """Return a layer's weight, or the gradient of it, as [N, D]."""
    found = layer.weight.grad if gradient else layer.weight
    return found.T if isinstance(layer, Conv1D) else found


def train(module, steps=20):
    optimiser = torch.optim.AdamW([module.weight_columns], lr=1e-2, weight_decay=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        module(torch.randn(8, D)).square().mean().backward()
        optimiser.step()


@FORM
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("shape", [(D,), (5, D), (3, 7, D)])
def test_at_the_start_the_output_is_the_frozen_layers_to_the_last_bit(form, autocast, shape):
    module, plain = layers(form)
    assert [tuple(p.shape) for p in module.parameters() if p.requires_grad] == [(N, len(COLUMNS))]
    inputs = torch.randn(shape)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        assert torch.equal(module(inputs), plain(inputs))


@FORM
@pytest.mark.parametrize("shape", [(D,), (5, D), (3, 7, D)])
def test_the_gradients_are_those_of_the_whole_matrix(form, shape):
    module, plain = layers(form)
    inputs, upstream = torch.randn(shape), torch.randn(*shape[:-1], N)
    mine, theirs = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    module(mine).backward(upstream)
    plain(theirs).backward(upstream)
    torch.testing.assert_close(mine.grad, theirs.grad)
    torch.testing.assert_close(module.weight_columns.grad, matrix(plain, gradient=True)[:, COLUMNS])
    assert module.frozen.weight.grad is None
    assert form == "without bias" or module.frozen.bias.grad is None


@FORM
def test_the_gradients_agree_with_finite_differences(form):
    module, _ = layers(form, torch.float64)
    inputs = torch.randn(2, 3, D, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda given, _: module(given), (inputs, module.weight_columns))


@FORM
def test_the_gradient_of_frozen_columns_is_never_computed(form):
    module, _ = layers(form)
    for inputs, expected in (
        (torch.randn(5, D, requires_grad=True), [(5, D), (N, len(COLUMNS))]),
        (torch.randn(5, D), [(N, len(COLUMNS))]),
    ):
        output = module(inputs).sum()
        with Products() as products:
            output.backward()
        assert sorted(products.shapes) == expected


@FORM
def test_training_moves_every_tuned_column_and_no_other_even_under_weight_decay(form):
    module, plain = layers(form)
    train(module)
    before, inputs = matrix(plain).detach(), torch.randn(3, D)
    for own, untouched in zip(module.frozen.parameters(), plain.parameters(), strict=True):
        assert torch.equal(own, untouched)
    tuned = module(inputs)
    merged = module.merged()
    assert type(merged) is type(plain)
    assert torch.equal(matrix(merged)[:, OTHERS], before[:, OTHERS])
    assert torch.equal(matrix(merged)[:, COLUMNS], module.weight_columns)
    assert (matrix(merged)[:, COLUMNS] != before[:, COLUMNS]).any(0).all()
    torch.testing.assert_close(merged(inputs), tuned)


@FORM
def test_training_equals_that_of_the_whole_matrix_with_only_these_columns_free(form):
    module, plain = layers(form)
    reference = copy.deepcopy(module)
    torch.manual_seed(1)
    train(module)
    bias = None if form == "without bias" else plain.bias.detach()
    weight = matrix(plain).detach()
    reference.forward = lambda inputs: F.linear(inputs, weight.index_copy(1, COLUMNS, reference.weight_columns), bias)
    torch.manual_seed(1)
    train(reference)
    torch.testing.assert_close(module.weight_columns, reference.weight_columns)


@FORM
def test_mixed_precision_gives_float32_gradients_close_to_the_whole_matrix_s(form):
    module, plain = layers(form)
    inputs = torch.randn(16, D)
    for one in (module, plain):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = one(inputs)
        output.float().square().sum().backward()
    assert module.weight_columns.grad.dtype == torch.float32
    expected = matrix(plain, gradient=True)[:, COLUMNS]
    torch.testing.assert_close(module.weight_columns.grad, expected, rtol=2e-2, atol=2e-2)
