"""Random directions: Li et al.'s filter normalisation, and the same draw whatever else differs."""

import numpy as np
import pytest
import torch

from models import tiny
from peftlab.landscape.directions import embedding_names, filter_normalised, random_direction


def weights(scale: float = 1.0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"matrix": (5, 3), "kernel": (4, 2, 3), "bias": (5,), "table": (7, 3)}
    return {name: scale * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def by_filter(drawn: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Section 4 of Li et al. (2018) as it reads, one filter after the other."""
    found = np.empty_like(drawn)
    for j in range(len(drawn)):
        found[j] = drawn[j] / np.sqrt((drawn[j] ** 2).sum()) * np.sqrt((weight[j] ** 2).sum())
    return found


@pytest.mark.parametrize("shape", [(6, 4), (3, 2, 5), (2, 3, 2, 2)])
def test_normalisation_is_the_papers_formula(shape):
    noise = np.random.default_rng(1)
    drawn, weight = noise.standard_normal(shape), 3 * noise.standard_normal(shape)
    found = filter_normalised(torch.tensor(drawn), torch.tensor(weight))
    np.testing.assert_allclose(found.numpy(), by_filter(drawn, weight), rtol=1e-9)


def test_a_row_without_length_is_not_moved_and_one_drawn_as_zeros_stays_finite():
    weight, drawn = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    assert filter_normalised(drawn, weight).tolist() == [[0, 0], [0, 0]]


def test_each_row_of_a_direction_is_as_long_as_the_weights_row():
    model = tiny().model
    found = random_direction(dict(model.named_parameters()), seed=3, number=0)
    matrices = {name: p for name, p in model.named_parameters() if p.ndim >= 2}
    assert found.keys() == matrices.keys()
    for name, weight in matrices.items():
        torch.testing.assert_close(found[name].norm(dim=1), weight.norm(dim=1), rtol=1e-5, atol=1e-7)


def test_vectors_and_what_is_fixed_are_not_moved():
    assert random_direction(weights(), 0, 0).keys() == {"matrix", "kernel", "table"}
    assert random_direction(weights(), 0, 0, fixed=["table"]).keys() == {"matrix", "kernel"}


def test_embeddings_are_found_by_what_they_are():
    found = embedding_names(tiny().model)
    assert len(found) == 3
    assert all("embeddings" in name for name in found)
    assert embedding_names(tiny("roberta").model) != []


def test_the_draw_depends_on_seed_number_and_name_alone():
    first, again = (random_direction(weights(), 1, 2) for _ in range(2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    fewer = random_direction({"matrix": weights()["matrix"]}, 1, 2)
    assert torch.equal(fewer["matrix"], first["matrix"])
    for seed, number in ((0, 2), (1, 3), (12, 2)):
        other = random_direction(weights(), seed, number)
        assert not torch.allclose(other["matrix"], first["matrix"])
    square = {"one": torch.ones(3, 3), "two": torch.ones(3, 3)}
    assert not torch.equal(*random_direction(square, 1, 2).values())


def test_other_weights_are_moved_the_same_way_each_by_its_own_length():
    ours, theirs = random_direction(weights(), 1, 0), random_direction(weights(scale=2.5), 1, 0)
    for name in ours:
        torch.testing.assert_close(theirs[name], 2.5 * ours[name])


def test_what_is_drawn_is_standard_normal():
    # Rows of length sqrt(n) are left by the normalisation as they are, to their own small spread.
    found = random_direction({"matrix": torch.ones(200, 1000)}, 5, 0)["matrix"]
    assert float(found.mean()) == pytest.approx(0, abs=0.01)
    assert float((found.abs() < 1).float().mean()) == pytest.approx(0.6827, abs=0.01)
