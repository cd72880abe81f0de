"""What holds of the layers whatever their sizes and values: on drawn ones, against definitions written out."""

import math

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from peftlab.layers.difference import GatedDifference, SparseDifference
from peftlab.layers.hard_concrete import HardConcrete, noise_like
from peftlab.layers.head_rows import HeadRowsLinear, rows_of_heads
from peftlab.layers.phm import PHMLinear, shared_rule

few = settings(max_examples=30, deadline=None)
seeds = st.integers(0, 10_000)
stretches = st.builds(HardConcrete, st.floats(-3, -0.05), st.floats(1.05, 4))


@few
@given(stretches, st.lists(st.floats(-8, 8), min_size=1, max_size=9), seeds)
def test_gates_lie_in_their_range_grow_with_alpha_and_close_as_often_as_they_say(
    distribution: HardConcrete, numbers: list[float], seed: int
) -> None:
    alpha = torch.tensor(sorted(numbers), dtype=torch.float64)
    noise = noise_like(alpha[:1], torch.Generator().manual_seed(seed)).expand_as(alpha)
    gates = distribution.gate(alpha, noise)
    assert ((gates >= 0) & (gates <= 1)).all()
    assert (gates.diff() >= 0).all()
    # P(open) is the length of the noise that opens the gate: z > 0 exactly for u > 1 - P.
    beyond = noise - (1 - distribution.open(alpha))
    assert torch.equal((gates > 0)[beyond.abs() > 1e-9], (beyond > 0)[beyond.abs() > 1e-9])


@few
@given(stretches, st.floats(-6, 6))
def test_the_slope_of_a_gate_is_its_derivative(distribution: HardConcrete, start: float) -> None:
    alpha = torch.tensor([start], dtype=torch.float64, requires_grad=True)
    gate = distribution.gate(alpha, None)
    (expected,) = torch.autograd.grad(gate, alpha)
    if not (gate == 0).any() and not (gate == 1).any():
        torch.testing.assert_close(distribution.slope(gate.detach()), expected)
    else:
        assert distribution.slope(gate.detach()) == 0


@few
@given(seeds)
def test_noise_keeps_off_zero_and_one_and_follows_its_generator(seed: int) -> None:
    alpha = torch.zeros(50_000)
    noise, again = (noise_like(alpha, torch.Generator().manual_seed(seed)) for _ in range(2))
    assert torch.equal(noise, again)
    assert 1e-4 <= noise.min() < 3e-4
    assert 1 - 3e-4 < noise.max() <= 1 - 1e-4
    assert not torch.equal(noise_like(alpha), noise_like(alpha))


@few
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), seeds)
def test_a_phm_layer_is_the_sum_of_kronecker_products(n: int, rows: int, columns: int, seed: int) -> None:
    torch.manual_seed(seed)
    layer = PHMLinear(shared_rule(n, 1.0), n * rows, n * columns, "glorot-uniform")
    nn.init.normal_(layer.bias)
    matrix = sum(torch.kron(layer.rule[i], layer.left[i] @ layer.right[i]) for i in range(n))
    inputs = torch.randn(5, n * rows)
    torch.testing.assert_close(layer(inputs), inputs @ matrix + layer.bias, rtol=1e-4, atol=1e-5)


@few
@given(st.sets(st.integers(0, 4), min_size=1), st.integers(1, 3), st.booleans(), seeds)
def test_gradients_of_rows_are_those_of_the_whole_matrix_where_the_heads_are(
    heads: set[int], size: int, bias: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    width = 5 * size
    plain = nn.Linear(width, width, dtype=torch.float64)
    frozen = nn.Linear(width, width, dtype=torch.float64).requires_grad_(False)
    frozen.load_state_dict(plain.state_dict())
    rows = rows_of_heads(sorted(heads), size)
    assert rows.tolist() == [row for row in range(width) if row // size in heads]
    module = HeadRowsLinear(frozen, rows, bias)
    inputs, upstream = torch.randn(2, 3, width, dtype=torch.float64), torch.randn(2, 3, width, dtype=torch.float64)
    module(inputs).backward(upstream)
    F.linear(inputs, plain.weight, plain.bias).backward(upstream)
    torch.testing.assert_close(module.weight_rows.grad, plain.weight.grad[rows])
    if bias:
        torch.testing.assert_close(module.bias_rows.grad, plain.bias.grad[rows])


@few
@given(st.integers(1, 4), st.integers(1, 5), st.data())
def test_a_sparse_difference_is_a_dense_one_with_zeros(rows: int, columns: int, data: st.DataObject) -> None:
    weights = torch.arange(float(rows * columns)).view(rows, columns)
    positions = torch.tensor(sorted(data.draw(st.sets(st.integers(0, rows * columns - 1)))), dtype=torch.int64)
    values = torch.randn(len(positions), generator=torch.Generator().manual_seed(0))
    dense = torch.zeros(rows * columns)
    dense[positions] = values
    assert torch.equal(SparseDifference(positions, values)(weights), weights + dense.view(rows, columns))


@few
@given(st.floats(-4, 4), st.floats(-4, 4), st.booleans())
def test_a_gated_difference_is_the_product_of_its_gates(start: float, group: float, grouped: bool) -> None:
    def gate(alpha: float) -> float:
        return min(1.0, max(0.0, 3 / (1 + math.exp(-alpha)) - 1.5))

    module = GatedDifference(torch.ones(2, 3), start, HardConcrete(), grouped).eval()
    nn.init.constant_(module.difference, 2.0)
    if module.group_alpha is not None:
        nn.init.constant_(module.group_alpha, group)
    expected = 1 + gate(start) * (gate(group) if grouped else 1) * 2
    torch.testing.assert_close(module(torch.ones(2, 3)), torch.full((2, 3), expected))
