"""Products by oneDNN: those of `nn.Linear`, forwards and back, to rounding."""

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from peftlab.kernels import linear as kernels
from peftlab.kernels.linear import product, use_fast_products
from peftlab.kernels.processor import onednn_has_avx512, onednn_outruns_mkl

needs_onednn = pytest.mark.skipif(not onednn_has_avx512(), reason="this CPU has no AVX-512: torch's own is taken")


@pytest.fixture(autouse=True, params=[False, pytest.param(True, marks=needs_onednn)], ids=["mkl", "onednn"])
def by_onednn(request, monkeypatch):
    """Whether products go by oneDNN, whichever is faster here."""
    torch.manual_seed(0)
    monkeypatch.setattr(kernels, "onednn_outruns_mkl", lambda: request.param)
    return request.param


def pair(bias=True, tuned=True):
    """Return our layer and torch's, with equal weights."""
    plain, fast = nn.Linear(24, 40, bias), nn.Linear(24, 40, bias)
    fast.load_state_dict(plain.state_dict())
    use_fast_products(fast)
    for layer in (plain, fast):
        layer.requires_grad_(tuned)
    return fast, plain


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("shape", [(24,), (5, 24), (2, 3, 24)])
def test_outputs_and_gradients_are_torchs_to_rounding(bias, tuned, shape):
    fast, plain = pair(bias, tuned)
    inputs = torch.randn(shape)
    mine, theirs = inputs.clone().requires_grad_(), inputs.clone().requires_grad_()
    upstream = torch.randn(*shape[:-1], 40)
    outputs, expected = fast(mine), plain(theirs)
    torch.testing.assert_close(outputs, expected)
    outputs.backward(upstream)
    expected.backward(upstream)
    torch.testing.assert_close(mine.grad, theirs.grad)
    for one, other in zip(fast.parameters(), plain.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None) == (not tuned)
        if tuned:
            torch.testing.assert_close(one.grad, other.grad)


def test_rounding_is_that_of_float32_not_of_a_shorter_type():
    inputs, weight = torch.randn(64, 768), torch.randn(512, 768)
    exact = inputs.double() @ weight.double().T
    errors = [(outputs.double() - exact).abs().max().item() for outputs in (product(inputs, weight), inputs @ weight.T)]
    assert errors[0] < 1e-6 * 768
    # bfloat16 would be a thousand times off.
    assert errors[0] < 10 * errors[1]


def test_a_gradient_without_storage_of_its_own_is_taken():
    fast, plain = pair()
    mine, theirs = (torch.ones(3, 24, requires_grad=True) for _ in range(2))
    fast(mine).sum().backward()  # the gradient of a sum is one number, expanded
    plain(theirs).sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)


@pytest.mark.parametrize("given", [{"dtype": torch.float64}, {"dtype": torch.bfloat16}, {"size": 0}])
def test_whatever_onednn_does_not_take_goes_to_torch(given):
    dtype = given.get("dtype", torch.float32)
    fast, plain = (layer.to(dtype) for layer in pair())
    inputs = torch.randn(given.get("size", 3), 24).to(dtype)
    assert torch.equal(fast(inputs), plain(inputs))


def test_mixed_precision_is_torchs():
    fast, plain = pair()
    inputs = torch.randn(3, 24)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert fast(inputs).dtype == torch.bfloat16
        assert torch.equal(fast(inputs), plain(inputs))


def test_float32_on_the_cpu_goes_to_onednn_where_that_is_faster(by_onednn):
    fast, plain = pair()
    inputs = torch.randn(300, 24)
    with torch.profiler.profile() as profile:
        outputs = fast(inputs)
    assert ("mkldnn::_linear_pointwise" in {event.key for event in profile.key_averages()}) == by_onednn
    assert by_onednn or torch.equal(outputs, plain(inputs))


@pytest.mark.parametrize(
    ("cpuinfo", "mkl", "expected"),
    [("GenuineIntel", True, False), ("GenuineIntel", False, True), ("AuthenticAMD", True, True)],
)
@needs_onednn
def test_mkl_is_faster_on_intels_cpus_alone(cpuinfo, mkl, expected, monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda path: f"vendor_id\t: {cpuinfo}\n")
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    onednn_outruns_mkl.cache_clear()
    found = onednn_outruns_mkl()
    onednn_outruns_mkl.cache_clear()
    assert found is expected


def test_every_linear_layer_of_a_model_is_fast_and_remains_what_it_was(by_onednn):
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 2, bias=False))).eval()
    before = dict(model.named_parameters())
    use_fast_products(model)
    with torch.profiler.profile() as profile:
        model(torch.randn(5, 2))
    calls = {event.key: event.count for event in profile.key_averages()}
    assert calls.get("mkldnn::_linear_pointwise", 0) == (2 if by_onednn else 0)
    assert [type(model[0]), type(model[1][0])] == [nn.Linear, nn.Linear]
    assert dict(model.named_parameters()) == before


def test_a_copy_of_a_fast_model_computes_with_its_own_weights():
    fast, _ = pair()
    copied = copy.deepcopy(fast)
    with torch.no_grad():
        copied.weight.zero_()
        copied.bias.zero_()
    assert not copied(torch.randn(3, 24)).any()
    assert fast(torch.randn(3, 24)).any()


def test_a_caller_may_add_to_an_output_in_place():
    fast, plain = pair()
    inputs = torch.randn(2, 3, 24)
    outputs, expected = fast(inputs), plain(inputs)
    outputs += 1
    (outputs**2).sum().backward()
    ((expected + 1) ** 2).sum().backward()
    torch.testing.assert_close(fast.weight.grad, plain.weight.grad)
