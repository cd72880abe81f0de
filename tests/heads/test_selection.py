"""Selection keeps the best k heads of each tuned layer, and its file gives back exactly what was written."""

import dataclasses
import json

import pytest
import torch

from peftlab.errors import UserError
from peftlab.heads import selection_json
from peftlab.heads.pagerank import pagerank
from peftlab.heads.selection import HeadScores, HeadSelection, select_heads
from peftlab.streams import Stream, seed_of

DEFAULTS = {
    "k": 2,
    "score": "pagerank",
    "variant": "layer-wise",
    "d": 0.85,
    "eps": 1e-5,
    "max_iter": 100,
    "orientation": "column",
    "teleport": "richness",
    "seed": 0,
}


def scores_of(layers=3, heads=6, seed=0):
    draw = torch.Generator().manual_seed(seed)
    weights = torch.rand(layers, heads, heads, generator=draw, dtype=torch.float64)
    correlation = (weights + weights.mT) * (1 - torch.eye(heads, dtype=torch.float64))
    return HeadScores(30 * torch.rand(layers, heads, generator=draw, dtype=torch.float64), correlation, 300)


def select(scores=None, **changes):
    return select_heads(scores or scores_of(), **(DEFAULTS | changes))


def chain():
    """One layer 0 - 1 - 2 - 3 with a heavy middle edge; head 3 is the richest, head 2 the poorest."""
    correlation = torch.zeros(1, 4, 4, dtype=torch.float64)
    for one, other, weight in ((0, 1, 1.0), (1, 2, 5.0), (2, 3, 2.0)):
        correlation[0, one, other] = correlation[0, other, one] = weight
    return HeadScores(torch.tensor([[6.0, 3.0, 1.0, 9.0]]), correlation, 10)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        ("pagerank", (1, 2)),
        ("pagerank-inverse", (0, 3)),
        ("richness", (0, 3)),
        ("richness-inverse", (1, 2)),
        ("correlation", (1, 2)),  # row sums 1, 6, 7, 2
    ],
)
def test_each_score_chooses_its_own_heads(score, expected):
    assert select(chain(), score=score, teleport="uniform").heads == (expected,)


def test_every_score_ranks_by_its_own_value_turned_so_that_higher_is_better():
    scores = scores_of()
    walked = pagerank(scores.correlation, scores.richness, teleport="richness").scores
    expected = {
        "pagerank": walked,
        "pagerank-inverse": -walked,
        "richness": scores.richness,
        "richness-inverse": -scores.richness,
        "correlation": scores.correlation.sum(1),
    }
    for score, values in expected.items():
        torch.testing.assert_close(select(scores, score=score).ranking, values)


def test_ranks_name_the_best_head_1():
    assert select(chain(), score="richness").ranks.tolist() == [[2, 3, 4, 1]]


def test_random_chooses_k_heads_a_layer_by_seed_and_nothing_else():
    chosen = {seed: select(score="random", seed=seed).heads for seed in range(20)}
    assert all(len(set(layer)) == 2 for heads in chosen.values() for layer in heads)
    assert chosen[0] == select(scores_of(seed=9), score="random", seed=0).heads
    assert len(set(chosen.values())) > 15
    assert {head for heads in chosen.values() for layer in heads for head in layer} == set(range(6))


@pytest.mark.parametrize("score", ["pagerank", "richness", "richness-inverse", "correlation", "random"])
def test_pagerank_is_kept_whatever_was_ranked(score):
    scores = scores_of()
    expected = pagerank(scores.correlation, scores.richness, teleport="richness")
    selection = select(scores, score=score)
    assert torch.equal(selection.pagerank, expected.scores)
    assert torch.equal(selection.iterations, expected.iterations)


@pytest.mark.parametrize(
    ("variant", "layers", "tuned"),
    [
        ("layer-wise", 24, range(24)),
        ("mid-top", 24, range(12, 24)),
        ("mid-top", 12, range(6, 12)),
        ("mid-top", 5, range(2, 5)),
        ("mid-top", 1, range(1)),
    ],
)
def test_variant_says_which_layers_are_tuned(variant, layers, tuned):
    heads = select(scores_of(layers=layers), variant=variant, k=3).heads
    assert [len(layer) for layer in heads] == [3 if layer in tuned else 0 for layer in range(layers)]


def test_bert_large_with_three_heads_tunes_the_weights_that_the_paper_counts():
    for variant, weights in (("layer-wise", 14_155_776), ("mid-top", 7_077_888)):
        heads = select(scores_of(layers=24, heads=16), variant=variant, k=3).heads
        assert sum(len(layer) for layer in heads) * 3 * 1024 * 64 == weights


@pytest.mark.parametrize("score", ["pagerank", "richness", "richness-inverse", "correlation", "pagerank-inverse"])
def test_ties_go_to_the_lower_head(score):
    level = HeadScores(torch.full((2, 16), 7.0), 1 - torch.eye(16).repeat(2, 1, 1), 1)
    assert select(level, score=score, k=3).heads == ((0, 1, 2), (0, 1, 2))


def test_all_heads_may_be_chosen_and_every_layer_lists_them_in_order():
    assert select(k=6).heads == ((0, 1, 2, 3, 4, 5),) * 3


def test_float32_scores_are_ranked_in_float64():
    scores = scores_of()
    single = HeadScores(scores.richness.float(), scores.correlation.float(), 300)
    selection = select(single)
    assert selection.ranking.dtype == selection.scores.correlation.dtype == torch.float64
    assert selection.heads == select(scores).heads


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("k", 0, "k=0: .*from 1 to 6"),
        ("k", -1, "k=-1: .*from 1 to 6"),
        ("k", 7, "k=7: .*from 1 to 6"),
        ("k", 2.5, "k=2.5: .*whole number"),
        ("k", "three", "k=three: .*whole number"),
        ("k", True, "k=True: .*whole number"),
        ("seed", 0.5, "seed=0.5: .*whole number"),
        ("score", "pagerang", r"score=pagerang: .*did you mean pagerank.*random.*richness-inverse"),
        ("variant", "midtop", r"variant=midtop: .*did you mean mid-top\?.*layer-wise, mid-top"),
        ("d", 1.0, r"d=1.0: .*\[0, 1\)"),
        ("orientation", "diagonal", "orientation=diagonal: .*column, row"),
    ],
)
def test_bad_options_are_refused_in_one_line_that_names_them(option, value, says):
    with pytest.raises(UserError, match=f"^{says}") as caught:
        select(**{option: value})
    assert "\n" not in str(caught.value)


def assert_same(one, other):
    for field in ("ranking", "pagerank", "iterations", "ranks"):
        assert torch.equal(getattr(one, field), getattr(other, field)), field
        assert getattr(one, field).dtype == getattr(other, field).dtype, field
    assert torch.equal(one.scores.richness, other.scores.richness)
    assert torch.equal(one.scores.correlation, other.scores.correlation)
    assert (one.heads, one.options, one.scores.examples) == (other.heads, other.options, other.scores.examples)


@pytest.mark.parametrize("changes", [{}, {"score": "random"}, {"score": "richness-inverse"}, {"variant": "mid-top"}])
def test_json_gives_back_every_bit(changes):
    selection = select(**changes)
    again = HeadSelection.from_json(selection.to_json())
    assert_same(again, selection)
    assert again.to_json() == selection.to_json()


def test_the_record_gets_the_facts_without_the_matrices():
    facts = select(chain(), score="richness").describe()
    # Degrees are 1, 6, 7, 2: richness 6, 3, 1, 9 puts them in nearly the opposite order.
    alone = {
        "degree": {"spearman": pytest.approx(-0.8), "heads": 0},
        "richness": {"spearman": pytest.approx(1.0), "heads": 2},
    }
    assert facts == {"examples": 10, "iterations": facts["iterations"], "heads": [[0, 3]], "alone": alone}
    assert json.loads(json.dumps(facts)) == facts


def test_json_never_holds_what_is_not_a_number():
    broken = HeadScores(torch.full((1, 4), float("nan")), chain().correlation, 10)
    with pytest.raises(ValueError, match="not JSON compliant"):
        select(broken).to_json()


def test_json_can_be_read_by_a_person():
    document = json.loads(select(chain(), score="richness").to_json())
    assert document["schema"] == 2
    assert (document["layers"], document["heads"], document["examples"]) == (1, 4, 10)
    assert document["chosen"] == [[0, 3]]
    assert document["ranks"] == [[2, 3, 4, 1]]
    assert document["richness"] == [[6.0, 3.0, 1.0, 9.0]]
    assert document["options"] == DEFAULTS | {"score": "richness"}


@pytest.mark.parametrize("place", ["", "selection.json"])
def test_a_selection_loads_from_its_folder_or_its_file(tmp_path, place):
    selection = select()
    files = selection.save(tmp_path)
    assert_same(HeadSelection.load(tmp_path / place), selection)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in files)
    assert [path.name for path in files] == ["selection.json", "selection.png"]


def test_a_file_may_choose_other_heads_than_the_best_ones():
    document = json.loads(select(chain(), score="richness").to_json())
    document["chosen"] = [[1]]
    assert HeadSelection.from_json(json.dumps(document)).heads == ((1,),)


MISSING = object()


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("schema", 3, "schema=3: must be one of 1, 2"),
        ("schema", MISSING, "schema=None"),
        ("chosen", MISSING, "lacks chosen"),
        ("chozen", [], "unknown chozen"),
        ("layers", 0, "layers=0"),
        ("layers", 3, "chosen: must be 3 lists"),
        ("heads", 2.0, "heads=2.0"),
        ("examples", True, "examples=True"),
        ("options", [], "options"),
        ("chosen", [0, 3], "chosen: must be 1 lists"),
        ("chosen", [[0, 4]], r"layer 0: \[0, 4\] .*from 0 to 3"),
        ("chosen", [[-1]], r"layer 0: \[-1\]"),
        ("chosen", [[3, 0]], r"layer 0: \[3, 0\] .*ascending"),
        ("chosen", [[1, 1]], r"layer 0: \[1, 1\] .*different"),
        ("chosen", [["0"]], "layer 0"),
        ("chosen", [[]], "no layer has a head"),
        ("ranks", [[1, 2, 3, 4]], "ranks: do not follow from ranking"),
        ("ranks", [[0, 1, 2, 3]], "ranks: .*whole numbers from 1 to 4"),
        ("iterations", [2.5], "iterations: .*whole"),
        ("iterations", [-1], "iterations: .*from 0"),
        ("iterations", 3, r"iterations: .*shape \[1\]"),
        ("pagerank", [[0.1, 0.2, 0.7]], r"pagerank: .*shape \[1, 4\]"),
        ("pagerank", [[0.1, 0.2, 0.7, None]], "pagerank: must be numbers"),
        ("pagerank", [[0.1, 0.2, 0.7, True]], "pagerank: must hold only"),
        ("richness", [[6.0, 3.0, 1.0, -9.0]], "richness: .*from 0"),
        ("richness", [[6.0, 3.0, 1.0, float("nan")]], "richness: .*finite"),
        ("richness", [[6.0, 3.0, 1.0, float("inf")]], "richness: .*finite"),
        ("richness", [[6.0, 3.0, 1.0, 10**400]], "richness"),
        ("richness", [[6.0, 3.0], [1.0]], r"richness: .*shape \[1, 4\]"),
        ("richness", "much", "richness: must be numbers"),
        ("correlation", [[[0.0] * 4] * 3], r"correlation: .*shape \[1, 4, 4\]"),
    ],
)
def test_an_edited_file_is_refused_in_one_line_that_names_the_field(tmp_path, field, value, says):
    document = json.loads(select(chain(), score="richness").to_json())
    document[field] = value
    if value is MISSING:
        del document[field]
    file = tmp_path / "selection.json"
    file.write_text(json.dumps(document))
    with pytest.raises(UserError, match=says) as caught:
        HeadSelection.load(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not JSON"),
        (b"[1]", "one JSON object"),
        (b"[" * 100_000, "is not JSON"),
        (b"\xff\xfe", "not UTF-8"),
        (select().to_json().encode()[:-40], "is not JSON"),
    ],
    ids=["empty", "a list", "deep", "bytes", "cut short"],
)
def test_a_broken_file_is_refused(tmp_path, content, says):
    file = tmp_path / "selection.json"
    file.write_bytes(content)
    with pytest.raises(UserError, match=f"selection.json: .*{says}") as caught:
        HeadSelection.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"absent\.json: cannot be read"):
        HeadSelection.load(tmp_path / "absent.json")
    with pytest.raises(UserError, match=r"selection.json: cannot be read"):
        HeadSelection.load(tmp_path)


def with_spectrum():
    shares = torch.tensor([0.5, 0.8, 1.0], dtype=torch.float64).expand(1, 4, 3)
    return dataclasses.replace(chain(), spectrum=shares / 1.0)


def test_spectra_are_kept_where_there_are_any_with_three_digits():
    third = dataclasses.replace(chain(), spectrum=torch.full((1, 4, 3), 1 / 3, dtype=torch.float64))
    text = select(third, score="richness").to_json()
    assert json.loads(text)["spectrum"] == [[[0.333] * 3] * 4]
    again = HeadSelection.from_json(text)
    assert again.to_json() == text
    assert HeadSelection.from_json(select(chain()).to_json()).scores.spectrum is None


def test_files_of_the_first_form_which_kept_no_spectra_are_read():
    document = json.loads(select(chain(), score="richness").to_json())
    del document["spectrum"]
    older = HeadSelection.from_json(json.dumps({**document, "schema": 1}))
    assert_same(older, select(chain(), score="richness"))
    with pytest.raises(UserError, match="lacks spectrum"):
        HeadSelection.from_json(json.dumps(document))
    with pytest.raises(UserError, match="unknown spectrum"):
        HeadSelection.from_json(json.dumps({**document, "schema": 1, "spectrum": None}))


@pytest.mark.parametrize(
    "spectrum",
    [3, "all", [], [[]], [[[]]], {"a": 1}, [[[0.5, 1.0]] * 3], [[[0.5, 1.5]] * 4], [[[0.5], [0.5, 1.0]] * 2]],
)
def test_spectra_of_another_form_are_refused_in_one_line(spectrum):
    document = json.loads(select(with_spectrum(), score="richness").to_json())
    with pytest.raises(UserError, match=r"^spectrum: must") as caught:
        HeadSelection.from_json(json.dumps({**document, "spectrum": spectrum}))
    assert "\n" not in str(caught.value)


def test_the_file_has_a_line_a_field_and_the_schema_first():
    assert selection_json.dumps({"layers": 1, "chosen": [[0, 3]]}) == (
        '{\n  "schema": 2,\n  "layers": 1,\n  "chosen": [[0, 3]]\n}\n'
    )


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("options", [], "options: must be an object"),
        ("chosen", [[]], "chosen: no layer has a head"),
        ("ranks", [[1, 2, 3, 4]], "ranks: do not follow from ranking"),
        ("iterations", [2.5], "iterations: must hold only whole numbers from 0 to inf"),
        ("pagerank", [[-1.0, 0, 0, 0]], "pagerank: must hold only finite numbers from 0 to inf"),
        ("ranking", [[True, 0, 0, 0]], "ranking: must hold only finite numbers from -inf to inf"),
        ("ranks", [[1, 2, 3, 5]], "ranks: must hold only whole numbers from 1 to 4"),
    ],
)
def test_what_is_wrong_with_a_field_is_said_in_so_many_words(field, value, message):
    document = json.loads(select(chain(), score="richness").to_json()) | {field: value}
    with pytest.raises(UserError) as caught:
        HeadSelection.from_json(json.dumps(document))
    assert str(caught.value) == message


def test_every_missing_and_every_unknown_field_is_named():
    document = json.loads(select(chain(), score="richness").to_json())
    few = {name: value for name, value in document.items() if name not in ("heads", "ranking")}
    known = (
        "schema, layers, heads, examples, options, chosen, ranks, iterations, ranking, pagerank, richness, "
        "correlation, spectrum"
    )
    for content, message in (
        (few, "lacks heads, ranking"),
        (document | {"speed": 1, "x": 2}, f"unknown speed, x; known are {known}"),
        ([1], "must hold one JSON object"),
    ):
        with pytest.raises(UserError) as caught:
            HeadSelection.from_json(json.dumps(content))
        assert str(caught.value) == message


def test_random_ranks_are_drawn_in_float64():
    generator = torch.Generator().manual_seed(seed_of(Stream.RANDOM_HEADS, 4))
    expected = torch.rand(3, 6, generator=generator, dtype=torch.float64)
    assert torch.equal(select(score="random", seed=4).ranking, expected)
