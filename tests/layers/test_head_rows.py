"""A layer of which only the rows of chosen heads are tuned: the whole layer in all it gives, and nothing else moves."""

import copy
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from products import Products
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.pytorch_utils import Conv1D

from peftlab.errors import UserError
from peftlab.kernels.linear import product, use_fast_products
from peftlab.layers.head_rows import HeadRowsLinear, rows_of_heads

D, HEAD_DIM, HEADS = 24, 4, (1, 4)
ROWS = rows_of_heads(HEADS, HEAD_DIM)
OTHERS = torch.tensor([row for row in range(D) if row not in ROWS])


class Case(NamedTuple):
    """A frozen layer, and whether the bias of its chosen rows is tuned."""

    form: str = "linear"
    bias: bool = False


CASES = [*(Case(form, bias) for form in ("linear", "transposed") for bias in (False, True)), Case("without bias")]
EACH = pytest.mark.parametrize("case", CASES, ids=[f"{case.form}, bias {case.bias}" for case in CASES])
FORM = pytest.mark.parametrize("form", ["linear", "transposed", "without bias"])


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def plain_layer(form):
    """Return an untouched layer; transformers' Conv1D, as it is in GPT-2, where the weight is [D, N]."""
    if form == "transposed":
        plain = Conv1D(D, D)
        nn.init.normal_(plain.bias)
        return plain
    plain = nn.Linear(D, D, bias=form == "linear")
    use_fast_products(plain)
    return plain


def layer(case=CASES[0], dtype=torch.float32):
    """Return a row-tuned layer and the plain one it stands for."""
    plain = plain_layer(case.form).to(dtype)
    frozen = copy.deepcopy(plain).requires_grad_(False)
    return HeadRowsLinear(frozen, ROWS, case.bias, axis=int(case.form == "transposed")), plain


def matrix(plain, gradient=False):
    """Return a layer's weight, or the gradient of it, as [N, D]."""
    found = plain.weight.grad if gradient else plain.weight
    return found.T if isinstance(plain, Conv1D) else found


def tuned(module):
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def moved(module):
    """Return `module` with its tuned rows away from where they started, as after some steps."""
    with torch.no_grad():
        for parameter in tuned(module):
            parameter += torch.randn_like(parameter)
    return module


def written_out(module):
    """Return the whole weight [N, D] and bias that a row-tuned layer stands for, by plain indexing."""
    weight, bias = matrix(module.frozen).clone(), copy.deepcopy(module.frozen.bias)
    weight[module.rows] = module.weight_rows.detach()
    if module.bias_rows is not None:
        bias[module.rows] = module.bias_rows.detach()
    return weight, bias


def computed(module, inputs):
    """Return what a layer of the written out weight makes of inputs, in their type and by the same kernel."""
    weight, bias = (None if tensor is None else tensor.to(inputs.dtype) for tensor in written_out(module))
    return (F.linear if isinstance(module.frozen, Conv1D) else product)(inputs, weight, bias)


def test_a_head_owns_as_many_rows_as_it_has_dimensions():
    assert rows_of_heads([1, 4], 4).tolist() == [4, 5, 6, 7, 16, 17, 18, 19]
    assert rows_of_heads([0], 64).tolist() == list(range(64))


@EACH
def test_the_parameters_are_the_rows_and_nothing_more(case):
    module, plain = layer(case)
    assert [tuple(parameter.shape) for parameter in tuned(module)] == [(8, D), (8,)][: 1 + case.bias]
    assert torch.equal(module.weight_rows, matrix(plain)[ROWS])
    assert all(isinstance(parameter, nn.Parameter) and parameter.is_leaf for parameter in tuned(module))


@EACH
@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("shape", [(D,), (5, D), (3, 7, D)])
def test_at_the_start_the_output_is_the_frozen_layers_to_the_last_bit(case, autocast, shape):
    module, plain = layer(case)
    inputs = torch.randn(shape)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        output, expected = module(inputs), plain(inputs)
    assert output.dtype == (torch.bfloat16 if autocast else torch.float32)
    assert torch.equal(output, expected)


@EACH
def test_the_output_follows_the_tuned_rows(case):
    module, _ = layer(case)
    inputs = torch.randn(3, D)
    module(inputs)
    moved(module)
    assert torch.equal(module(inputs), computed(module, inputs))


@EACH
@pytest.mark.parametrize("shape", [(D,), (5, D), (3, 7, D)])
def test_the_gradients_are_those_of_the_whole_matrix(case, shape):
    module, plain = layer(case)
    inputs, upstream = torch.randn(shape), torch.randn(shape)
    mine, theirs = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    module(mine).backward(upstream)
    plain(theirs).backward(upstream)
    torch.testing.assert_close(mine.grad, theirs.grad)
    torch.testing.assert_close(module.weight_rows.grad, matrix(plain, gradient=True)[ROWS])
    if case.bias:
        torch.testing.assert_close(module.bias_rows.grad, plain.bias.grad[ROWS])
    assert module.frozen.weight.grad is None
    assert case.form == "without bias" or module.frozen.bias.grad is None


@EACH
def test_the_gradients_agree_with_finite_differences(case):
    module, _ = layer(case, torch.float64)
    inputs = torch.randn(2, 3, D, dtype=torch.float64, requires_grad=True)
    # gradcheck moves these tensors in place, and the layer reads its own parameters.
    assert torch.autograd.gradcheck(lambda given, *_: module(given), (inputs, *tuned(module)))


@EACH
def test_mixed_precision_gives_float32_gradients_close_to_the_whole_matrix_s(case):
    module, plain = layer(case)
    inputs = torch.randn(16, D)
    for layer_ in (module, plain):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = layer_(inputs)
        output.float().square().sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in tuned(module))
    torch.testing.assert_close(module.weight_rows.grad, matrix(plain, gradient=True)[ROWS], rtol=2e-2, atol=2e-2)


def products_of_backward(module, inputs):
    output = module(inputs).sum()
    with Products() as products:
        output.backward()
    return sorted(products.shapes)


@FORM
def test_the_gradient_of_frozen_rows_is_never_computed(form):
    module, plain = layer(Case(form))
    inputs = torch.randn(5, D)
    assert products_of_backward(plain, inputs.clone().requires_grad_()) == [(5, D), (D, D)]
    assert products_of_backward(module, inputs.clone().requires_grad_()) == [(5, D), (len(ROWS), D)]
    assert products_of_backward(module, inputs) == [(len(ROWS), D)]


def train(module, steps=20, **options):
    optimiser = torch.optim.AdamW(tuned(module), lr=1e-2, weight_decay=0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        module(torch.randn(8, D)).square().mean().backward()
        optimiser.step()


@EACH
def test_training_moves_every_tuned_row_and_no_other_even_under_weight_decay(case):
    module, plain = layer(case)
    train(module)
    assert same(module.frozen, plain)
    assert torch.equal(module(torch.eye(D)).T[OTHERS], plain(torch.eye(D)).T[OTHERS])

    merged, before = module.merged(), matrix(plain)
    assert merged is module.frozen
    assert type(merged) is type(plain)
    assert torch.equal(matrix(merged)[OTHERS], before[OTHERS])
    assert torch.equal(matrix(merged)[ROWS], module.weight_rows)
    assert (matrix(merged)[ROWS] != before[ROWS]).any(1).all()
    if case.form != "without bias":
        assert torch.equal(merged.bias[OTHERS], plain.bias[OTHERS])
        assert torch.equal(merged.bias[ROWS], plain.bias[ROWS]) != case.bias


def same(one, other):
    """Return whether two layers hold the same numbers, bit for bit."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


@EACH
def test_training_equals_that_of_the_whole_matrix_with_only_these_rows_free(case):
    module, _ = layer(case)
    reference = copy.deepcopy(module)
    train(module)
    torch.manual_seed(0)
    layer(case)  # draws what `layer` drew above, so that both trainings see the same inputs
    frozen, weight, bias = reference.frozen, reference.weight_rows, reference.bias_rows
    reference.forward = lambda inputs: F.linear(
        inputs,
        matrix(frozen).index_copy(0, ROWS, weight),
        frozen.bias if bias is None else frozen.bias.index_copy(0, ROWS, bias),
    )
    train(reference)
    for mine, theirs in zip(tuned(module), tuned(reference), strict=True):
        torch.testing.assert_close(mine, theirs)


@EACH
def test_the_merged_layer_computes_what_the_tuned_one_did(case):
    module, _ = layer(case)
    train(module)
    inputs = torch.randn(3, D)
    before = module(inputs)
    assert torch.equal(module.merged()(inputs), before)


@FORM
@pytest.mark.parametrize("first", [torch.inference_mode, torch.no_grad])
def test_a_layer_that_was_first_used_for_evaluation_can_be_trained(form, first):
    module, plain = layer(Case(form))
    with first():
        module(torch.randn(3, D))
    train(module, steps=2)
    assert not torch.equal(module.weight_rows, plain.weight[ROWS])
    with first():
        inputs = torch.randn(3, D)
        assert torch.equal(module(inputs), computed(module, inputs))


@FORM
def test_mixed_precision_may_be_switched_on_and_off_between_calls(form):
    module, _ = layer(Case(form))
    inputs = torch.randn(3, D)
    for enabled in (False, True, False, True):
        moved(module)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            kind = torch.bfloat16 if enabled else torch.float32
            assert torch.equal(module(inputs), computed(module, inputs.to(kind)))


@FORM
def test_a_backward_pass_is_that_of_its_own_precision_even_after_a_call_in_another(form):
    module, plain = layer(Case(form))
    inputs = torch.randn(3, D, requires_grad=True)
    output = module(inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module(inputs)
    output.sum().backward()
    torch.testing.assert_close(inputs.grad, matrix(plain).sum(0).expand(3, D))


@EACH
def test_gradients_accumulate_over_calls(case):
    module, _ = layer(case)
    batches = torch.randn(2, 5, D)
    module(batches.flatten(0, 1)).square().sum().backward()
    whole = [parameter.grad.clone() for parameter in tuned(module)]
    module.zero_grad()
    outputs = [module(batch).square().sum() for batch in batches]  # both forward, then both back
    for output in outputs:
        output.backward()
    for parameter, expected in zip(tuned(module), whole, strict=True):
        torch.testing.assert_close(parameter.grad, expected)


@EACH
@pytest.mark.parametrize("reentrant", [False, True])
def test_gradient_checkpointing_gives_the_same_gradients(case, reentrant):
    module, _ = layer(case)
    inputs = torch.randn(3, D, requires_grad=True)
    gradients = []
    for call in (module, lambda given: checkpoint(module, given, use_reentrant=reentrant)):
        module.zero_grad()
        inputs.grad = None
        call(inputs).square().sum().backward()
        gradients.append([inputs.grad, *(parameter.grad for parameter in tuned(module))])
    for plain, checkpointed in zip(*gradients, strict=True):
        assert torch.equal(plain, checkpointed)


@EACH
def test_a_copy_lives_its_own_life(case):
    module, plain = layer(case)
    module(torch.randn(2, D))
    copied = copy.deepcopy(module)
    train(copied, steps=2)
    inputs = torch.randn(2, D)
    assert torch.equal(module(inputs), plain(inputs))
    assert not torch.equal(copied(inputs), plain(inputs))


def test_a_state_holds_the_rows_and_restores_them():
    module, _ = layer(Case(bias=True))
    assert set(module.state_dict()) == {"weight_rows", "bias_rows", "frozen.weight", "frozen.bias"}
    other = copy.deepcopy(module)
    train(module, steps=2)
    other.load_state_dict(module.state_dict())
    inputs = torch.randn(2, D)
    assert torch.equal(other(inputs), module(inputs))


@EACH
def test_a_layer_may_be_cast_after_it_was_used(case):
    module, _ = layer(case)
    module(torch.randn(2, D))
    module.double()
    inputs = torch.randn(2, D, dtype=torch.float64)
    assert torch.equal(module(inputs), computed(module, inputs))


@FORM
def test_the_whole_matrix_is_made_once_and_again_only_for_another_type(form):
    module, _ = layer(Case(form))
    inputs = torch.randn(2, D)
    module(inputs)
    kept = module._whole
    module(inputs)
    assert module._whole is kept
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module(inputs)
        assert module._whole.dtype == torch.bfloat16
    assert kept.dtype == torch.float32


def test_a_bias_that_is_not_there_cannot_be_tuned():
    with pytest.raises(UserError, match="bias=true: allowed is false"):
        HeadRowsLinear(plain_layer("without bias"), ROWS, bias=True)


def test_a_layer_that_takes_torchs_product_is_stood_for_by_torchs_product():
    frozen, inputs = nn.Linear(D, D), torch.randn(300, D)
    module = HeadRowsLinear(frozen, ROWS)
    with torch.profiler.profile() as profile:
        module(inputs).sum().backward()
    assert not [event.key for event in profile.key_averages() if "mkldnn" in event.key]
    assert torch.equal(module(inputs), frozen(inputs))
