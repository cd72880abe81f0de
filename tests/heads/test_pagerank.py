"""PageRank over heads: the printed Eq. 10, the reading in which it ranks, and every option's promise."""

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peftlab.errors import UserError
from peftlab.heads.pagerank import pagerank, start, transition_matrix

EXACT = {"eps": 1e-15, "max_iter": 2000}


def graph(heads, *, seed=0, dead=()):
    """A symmetric R with an empty diagonal, and the richness of its heads; `dead` heads correlate with none."""
    draw = torch.Generator().manual_seed(seed)
    weights = torch.randn(heads, heads, generator=draw, dtype=torch.float64) ** 2
    correlation = (weights + weights.T).fill_diagonal_(0.0)
    for head in dead:
        correlation[head] = correlation[:, head] = 0.0
    return correlation, 20 + 25 * torch.rand(heads, generator=draw, dtype=torch.float64)


@st.composite
def graphs(draw):
    heads = draw(st.integers(1, 20))
    dead = draw(st.sets(st.integers(0, heads - 1)))
    return graph(heads, seed=draw(st.integers(0, 10_000)), dead=dead)


options = st.fixed_dictionaries(
    {
        "d": st.floats(0, 0.99),
        "orientation": st.sampled_from(["column", "row"]),
        "teleport": st.sampled_from(["uniform", "richness"]),
    }
)


@pytest.mark.parametrize("teleport", ["uniform", "richness"])
@pytest.mark.parametrize("d", [0.5, 0.85, 0.95])
@pytest.mark.parametrize(("heads", "dead"), [(2, ()), (12, ()), (16, ()), (16, (3,))])
def test_column_orientation_equals_networkx(heads, dead, d, teleport):
    correlation, richness = graph(heads, dead=dead)
    expected = nx.pagerank(
        nx.from_numpy_array(correlation.numpy()),
        alpha=d,
        personalization=dict(enumerate(richness.tolist())) if teleport == "richness" else None,
        dangling={head: 1.0 for head in range(heads) if head not in dead},
        tol=1e-14,
        max_iter=2000,
    )
    result = pagerank(correlation, richness, d=d, teleport=teleport, **EXACT)
    torch.testing.assert_close(result.scores, torch.tensor(list(expected.values()), dtype=torch.float64))


@pytest.mark.parametrize("teleport", ["uniform", "richness"])
@pytest.mark.parametrize("orientation", ["column", "row"])
def test_the_fixed_point_solves_the_linear_system_of_eq_10(orientation, teleport):
    correlation, richness = graph(12)
    rows = correlation.numpy() / correlation.numpy().sum(1, keepdims=True)
    matrix = rows.T if orientation == "column" else rows
    goal = richness.numpy() / richness.numpy().sum() if teleport == "richness" else np.full(12, 1 / 12)
    expected = np.linalg.solve(np.eye(12) - 0.85 * matrix, 0.15 * goal)
    result = pagerank(correlation, richness, orientation=orientation, teleport=teleport, **EXACT)
    np.testing.assert_allclose(result.scores.numpy(), expected, atol=1e-13)


@given(seed=st.integers(0, 10_000))
def test_the_printed_equation_10_ranks_nothing_at_its_fixed_point(seed):
    result = pagerank(*graph(16, seed=seed), orientation="row", **EXACT)
    assert (result.scores - 1 / 16).abs().max() < 1e-12


def test_the_printed_equation_10_stopped_early_still_shows_its_start():
    correlation, richness = graph(16)
    result = pagerank(correlation, richness, orientation="row", max_iter=1)
    rows = correlation / correlation.sum(1, keepdim=True)
    torch.testing.assert_close(result.scores, 0.85 * rows @ (richness / richness.sum()) + 0.15 / 16)
    assert result.iterations == 1


def test_with_uniform_teleport_the_fixed_point_forgets_the_start_and_with_richness_it_does_not():
    correlation, richness = graph(16)
    other = richness.flip(0)
    for teleport, differs in (("uniform", False), ("richness", True)):
        first, second = (pagerank(correlation, r, teleport=teleport, **EXACT).scores for r in (richness, other))
        assert ((first - second).abs().max() > 1e-4) == differs
        assert torch.allclose(first, second, atol=1e-13) != differs


@pytest.mark.parametrize("teleport", ["uniform", "richness"])
def test_column_orientation_keeps_the_sum_at_one_in_every_step(teleport):
    correlation, richness = graph(16, dead=(2, 5))
    for steps in range(1, 12):
        scores = pagerank(correlation, richness, max_iter=steps, eps=1e-15, teleport=teleport).scores
        assert scores.sum().item() == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("teleport", ["uniform", "richness"])
def test_the_hub_of_a_star_ranks_first(teleport):
    correlation = torch.zeros(9, 9)
    correlation[4] = correlation[:, 4] = 1.0
    correlation[4, 4] = 0.0
    assert pagerank(correlation, torch.ones(9), teleport=teleport).scores.argmax() == 4


def test_a_graph_stops_at_the_first_change_within_eps():
    correlation, richness = graph(16)
    steps = [start(richness)]
    steps += [pagerank(correlation, richness, max_iter=n, eps=1e-15).scores for n in range(1, 20)]
    changes = [(after - before).norm().item() for before, after in pairwise(steps)]
    expected = next(n + 1 for n, change in enumerate(changes) if change <= 1e-5)
    result = pagerank(correlation, richness, eps=1e-5)
    assert result.iterations == expected
    assert torch.equal(result.scores, steps[expected])


def test_iteration_ends_at_max_iter_where_eps_is_out_of_reach():
    assert pagerank(*graph(16), eps=1e-300, max_iter=7).iterations == 7


@given(graphs(), options)
def test_any_graph_gives_finite_shares_of_one(case, chosen):
    scores = pagerank(*case, **chosen, **EXACT).scores
    assert scores.isfinite().all()
    assert (scores >= 0).all()
    if chosen["orientation"] == "column":
        assert scores.sum().item() == pytest.approx(1, abs=1e-12)


@given(graphs(), options, st.integers(0, 10_000))
def test_renaming_heads_renames_their_scores(case, chosen, seed):
    correlation, richness = case
    order = torch.randperm(len(richness), generator=torch.Generator().manual_seed(seed))
    plain = pagerank(correlation, richness, **chosen, **EXACT).scores
    renamed = pagerank(correlation[order][:, order], richness[order], **chosen, **EXACT).scores
    torch.testing.assert_close(renamed, plain[order], rtol=0, atol=1e-11)


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=6), options)
def test_a_graph_in_a_batch_ends_as_it_does_alone(seeds, chosen):
    # Dead heads make graphs converge after unlike numbers of steps.
    cases = [graph(8, seed=seed, dead=range(seed % 4)) for seed in seeds]
    batch = pagerank(*(torch.stack(part) for part in zip(*cases, strict=True)), **chosen, eps=1e-6)
    for index, case in enumerate(cases):
        alone = pagerank(*case, **chosen, eps=1e-6)
        assert batch.iterations[index] == alone.iterations
        torch.testing.assert_close(batch.scores[index], alone.scores, rtol=0, atol=1e-14)


@pytest.mark.parametrize("orientation", ["row", "column"])
def test_shares_of_single_precision_are_taken_in_double(orientation):
    single = graph(12)[0].float()
    assert torch.equal(transition_matrix(single, orientation), transition_matrix(single.double(), orientation))


def test_a_dead_head_moves_to_every_other_alike():
    matrix = transition_matrix(graph(4, dead=(1,))[0], "row")
    assert matrix[1].tolist() == [1 / 3, 0, 1 / 3, 1 / 3]
    assert (matrix[:, 1] == 0).all()


@given(graphs())
def test_rows_sum_to_one_as_printed_and_columns_in_the_transpose(case):
    rows, columns = (transition_matrix(case[0], orientation) for orientation in ("row", "column"))
    torch.testing.assert_close(rows.sum(1), torch.ones(len(rows), dtype=torch.float64))
    assert torch.equal(columns, rows.T)
    assert len(rows) == 1 or (rows.diagonal() == 0).all()


def test_a_single_head_holds_all():
    result = pagerank(torch.zeros(3, 1, 1), torch.tensor([[4.0], [0.0], [1.0]]))
    torch.testing.assert_close(result.scores, torch.ones(3, 1, dtype=torch.float64))
    assert result.iterations.tolist() == [1, 1, 1]


def test_the_start_is_the_share_of_richness_and_uniform_without_any():
    richness = torch.tensor([[1.0, 3.0], [0.0, 0.0], [0.125, 0.375]])
    assert start(richness).tolist() == [[0.25, 0.75], [0.5, 0.5], [0.25, 0.75]]


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("d", 1, r"d=1: .*\[0, 1\)"),
        ("d", -0.1, r"d=-0.1: .*\[0, 1\)"),
        ("d", float("nan"), r"d=nan: .*\[0, 1\)"),
        ("d", "high", r"d=high: .*number"),
        ("eps", 0, "eps=0: .*above 0"),
        ("eps", -1e-5, "eps=-1e-05: .*above 0"),
        ("eps", float("inf"), "eps=inf: .*above 0"),
        ("eps", None, "eps=None: .*number"),
        ("max_iter", 0, "max_iter=0: .*at least 1"),
        ("max_iter", 2.5, "max_iter=2.5: .*whole number"),
        ("orientation", "collumn", r"orientation=collumn: .*did you mean column\?.*column, row"),
        ("orientation", None, "orientation=None: .*column, row"),
        ("teleport", "info", "teleport=info: .*uniform, richness"),
    ],
)
def test_bad_options_are_refused_in_one_line_that_names_them(option, value, says):
    with pytest.raises(UserError, match=f"^{says}") as caught:
        pagerank(*graph(4), **{option: value})
    assert "\n" not in str(caught.value)


def test_what_is_not_asked_for_is_as_the_paper_says():
    correlation, richness = graph(16)
    plain = pagerank(correlation, richness)
    asked = pagerank(correlation, richness, d=0.85, eps=1e-5, max_iter=100, orientation="column", teleport="uniform")
    assert torch.equal(plain.scores, asked.scores)
    assert plain.iterations == asked.iterations > 2
    # Two heads hand all they have to one another, for ever.
    swing = pagerank(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1.0, 3.0]), d=0.999)
    assert swing.iterations == 100


@pytest.mark.parametrize("orientation", ["row", "column"])
def test_the_matrix_lies_where_the_correlation_does(orientation):
    # A device without values stands for one that is not the CPU: nothing made here may lie elsewhere.
    assert transition_matrix(torch.empty(3, 4, 4, device="meta"), orientation).is_meta
