"""The correlation of two heads is the absolute unbiased covariance of their mean outputs, pads apart."""

import numpy as np
import pytest
import torch

from peftlab.heads.correlation import head_correlation


def outputs_of(batch=3, length=7, heads=4, size=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(batch, length, heads, size, generator=draw, dtype=torch.float64)


def by_numpy(example):
    """|numpy.cov| of the mean outputs of one unpadded example [S, H, D'], its diagonal cleared."""
    covariance = np.abs(np.atleast_2d(np.cov(example.numpy().mean(0))))
    np.fill_diagonal(covariance, 0.0)
    return torch.from_numpy(covariance)


@pytest.mark.parametrize("shape", [{}, {"length": 1}, {"heads": 1}, {"size": 2}, {"batch": 1, "heads": 12, "size": 64}])
def test_equals_numpy_cov(shape):
    outputs = outputs_of(**shape)
    result = head_correlation(outputs, torch.ones(outputs.shape[:2], dtype=torch.long))
    assert result.dtype == torch.float64
    torch.testing.assert_close(result, torch.stack([by_numpy(example) for example in outputs]))


def test_opposite_heads_correlate_as_strongly_as_equal_ones():
    # Means (1, 2, 3), the same, its negative, and a constant: covariance 1, -1 and 0.
    mean = torch.tensor([1.0, 2.0, 3.0])
    outputs = torch.stack([mean, mean, -mean, torch.ones(3)])[None, None]
    expected = [[0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]
    assert head_correlation(outputs, torch.ones(1, 1)).tolist() == [expected]


@pytest.mark.parametrize("side", ["right", "left"])
def test_pads_count_neither_by_their_values_nor_by_their_number(side):
    real = outputs_of(length=6)
    lengths = [6, 1, 3]
    padded = torch.full((3, 11, 4, 5), float("nan"), dtype=torch.float64)
    mask = torch.zeros(3, 11, dtype=torch.long)
    for example, length in enumerate(lengths):
        place = slice(0, length) if side == "right" else slice(11 - length, 11)
        padded[example, place] = real[example, :length]
        mask[example, place] = 1
    expected = torch.stack([by_numpy(real[i, :length]) for i, length in enumerate(lengths)])
    torch.testing.assert_close(head_correlation(padded, mask), expected)


def test_sums_are_kept_in_float64_for_half_precision_outputs():
    outputs = (outputs_of(length=512) * 100 + 300).half()
    expected = torch.stack([by_numpy(example) for example in outputs.double()])
    torch.testing.assert_close(head_correlation(outputs, torch.ones(3, 512)), expected)


@pytest.mark.parametrize(
    ("outputs", "mask"),
    [
        (outputs_of(), torch.zeros(3, 7)),
        (outputs_of(size=1), torch.ones(3, 7)),
    ],
    ids=["no tokens", "one feature"],
)
def test_where_nothing_can_vary_the_correlation_is_zero(outputs, mask):
    assert (head_correlation(outputs, mask) == 0).all()


def test_it_lies_where_the_outputs_do():
    # A device without values stands for one that is not the CPU: nothing made here may lie elsewhere.
    assert head_correlation(torch.empty(2, 5, 4, 3, device="meta"), torch.empty(2, 5, device="meta")).is_meta
