"""A budget is divided among layers to the last head, within its bounds, or refused in one line."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peftlab.errors import UserError
from peftlab.heads.allocation import Allocation, best_of_all, in_proportion
from peftlab.heads.layer_scores import LAYER_SCORES
from peftlab.heads.scores import HeadScores

many = settings(max_examples=150, deadline=None)


@st.composite
def budgets(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    """Layers, heads, the fewest and the most of a layer, and a total that they can hold."""
    layers, heads = draw(st.integers(1, 8)), draw(st.integers(1, 12))
    most = draw(st.integers(1, heads))
    least = draw(st.integers(0, most))
    return layers, heads, least, most, draw(st.integers(max(1, layers * least), layers * most))


@many
@given(budgets(), st.data())
def test_shares_are_exact_within_bounds_and_less_than_one_from_one_factor_for_all(
    budget: tuple[int, int, int, int, int], data: st.DataObject
) -> None:
    layers, _, least, most, total = budget
    weight = st.one_of(st.just(0.0), st.floats(1e-6, 1e6), st.integers(0, 3).map(float))
    weights = data.draw(st.lists(weight, min_size=layers, max_size=layers))
    counts = in_proportion(weights, total, least, most)
    assert sum(counts) == total
    assert all(least <= count <= most for count in counts)
    # A higher weight never gets less.
    pairs = [(i, j) for i in range(layers) for j in range(layers) if weights[i] > weights[j]]
    assert all(counts[i] >= counts[j] for i, j in pairs)


@pytest.mark.parametrize(
    ("weights", "total", "bounds", "expected"),
    [
        ([1, 1, 1], 9, (0, 12), [3, 3, 3]),
        ([1, 1, 1], 7, (0, 12), [3, 2, 2]),  # of equal remainders the first layer's
        ([1, 2, 3], 12, (0, 12), [2, 4, 6]),
        ([1, 2, 4], 10, (0, 12), [1, 3, 6]),  # 1.43, 2.86, 5.71: the two largest remainders
        ([1, 2, 4], 10, (0, 4), [2, 4, 4]),  # 4 at most; of the other 6, 2 and 4
        ([0, 0, 5], 9, (2, 12), [2, 2, 5]),
        ([0, 0, 5], 9, (0, 4), [3, 2, 4]),  # the rest is divided alike
        ([0, 0, 0], 6, (0, 12), [2, 2, 2]),
        # Both bounds are met: 8 of 20 take the most, 1 the least; 100 : 10 : 1 : 1 of 12.
        ([100, 10, 1, 1], 12, (1, 8), [8, 2, 1, 1]),
    ],
)
def test_shares_by_hand(weights: list[float], total: int, bounds: tuple[int, int], expected: list[int]) -> None:
    assert in_proportion(weights, total, *bounds) == expected


@many
@given(budgets(), st.integers(0, 10_000))
def test_the_best_of_all_are_those_that_a_plain_search_takes(budget: tuple[int, int, int, int, int], seed: int) -> None:
    layers, heads, least, most, total = budget
    draw = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 9, (layers, heads), generator=draw).double()
    counts = [least] * layers
    # Again and again the best head that is left: of equal ones the lower layer's.
    while sum(counts) < total:
        open_layers = [layer for layer in range(layers) if counts[layer] < most]
        best = [values[layer].sort(descending=True).values[counts[layer]] for layer in open_layers]
        counts[open_layers[max(range(len(best)), key=lambda i: (best[i], -i))]] += 1
    assert best_of_all(values, total, least, most) == counts


def test_with_the_layers_scores_alone_the_total_is_that_of_uniform_and_chance_deals_the_same_numbers() -> None:
    values = torch.tensor([[9.0, 8, 7, 6], [5, 1, 1, 1], [5, 4, 1, 1]], dtype=torch.float64)
    assert Allocation().counts(values, 2, seed=1) == [2, 2, 2]
    assert Allocation("global").counts(values, 2, seed=1) == [4, 1, 1]
    assert Allocation("global", k_max=3).counts(values, 2, seed=1) == [3, 1, 2]
    assert Allocation("share", budget=5).counts(values, 2, seed=1) == [3, 1, 1]
    for way in ("global", "share"):
        plain = Allocation(way, budget=5).counts(values, 2, seed=1)  # type: ignore[arg-type]
        dealt = [Allocation(f"{way}-random", budget=5).counts(values, 2, seed) for seed in range(20)]  # type: ignore[arg-type]
        assert all(sorted(found) == sorted(plain) for found in dealt)
        assert len({tuple(found) for found in dealt}) > 1
        assert dealt[3] == Allocation(f"{way}-random", budget=5).counts(values, 2, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "k", "message"),
    [
        ({"budget": 25}, 3, "budget=25: 6 tuned layers of 0 to 4 heads hold 1 to 24"),
        ({"budget": 0}, 3, "budget=0: 6 tuned layers of 0 to 4 heads hold 1 to 24"),
        ({"budget": 11, "k_min": 2}, 3, "budget=11: 6 tuned layers of 2 to 4 heads hold 12 to 24"),
        ({"way": "share", "k_max": 2}, 3, "k=3: a budget of 18: 6 tuned layers of 0 to 2 heads hold 1 to 12"),
        ({"k_min": 3, "k_max": 2}, 3, "k_min=3: allowed is 0 to 2, the most that a layer gets"),
        ({"k_min": -1}, 3, "k_min=-1: allowed is 0 to 4, the most that a layer gets"),
        ({"k_max": 5}, 3, "k_max=5: allowed is 1 to 4, the heads of a layer, or null"),
        ({"k_max": 0}, 3, "k_max=0: allowed is 1 to 4, the heads of a layer, or null"),
    ],
)
def test_an_impossible_budget_is_refused_in_one_line(options: dict[str, Any], k: int, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Allocation(**options).counts(torch.ones(6, 4, dtype=torch.float64), k, seed=1)
    assert str(caught.value) == message


def scores(**more: Any) -> HeadScores:
    return HeadScores(torch.tensor([[2.0, 3.0], [1.0, 0.0]]), torch.zeros(2, 2, 2), 10, **more)


def test_layer_scores_by_hand() -> None:
    flat, steep = [0.25, 0.5, 0.75, 1.0], [1.0, 1.0, 1.0, 1.0]
    spectrum = torch.tensor([[flat, steep], [[0.5, 1.0, 1.0, 1.0], [0.0] * 4]])
    gradient = torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.float64)
    found = {
        name: score(scores(spectrum=spectrum, measured={"gradient": gradient, "fisher": gradient})).tolist()
        for name, score in LAYER_SCORES.items()
    }
    assert found == {
        "richness": [[2.0, 3.0], [1.0, 0.0]],
        "spectrum": [[pytest.approx(4.0), 1.0], [pytest.approx(2.0), 0.0]],  # as many as there are equal values
        "gradient": [[pytest.approx(0.6), pytest.approx(0.8)], [0.0, 0.0]],
        "fisher": [[3.0, 4.0], [0.0, 0.0]],
    }


@pytest.mark.parametrize("name", ["spectrum", "gradient", "fisher"])
def test_a_layer_score_that_was_not_measured_is_refused(name: Any) -> None:
    with pytest.raises(UserError, match=f"^layer_score={name}: "):
        LAYER_SCORES[name](scores())
