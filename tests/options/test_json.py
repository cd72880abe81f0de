"""What is written is read back as it was, whatever it was; and what does not fit its type is refused by its place."""

import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peftlab.errors import UserError
from peftlab.options.schema import from_plain, parse_json, to_plain


@dataclass
class Leaf:
    name: str
    kind: Literal["row", "column"]
    share: float | None = None
    heads: list[int] = field(default_factory=list)


@dataclass
class Tree:
    done: bool
    steps: int
    leaves: list[Leaf]
    named: dict[str, float]
    note: Any = None


finite = st.floats(allow_nan=False, allow_infinity=False)
whole = st.integers(-(2**53), 2**53)
leaves = st.builds(Leaf, st.text(), st.sampled_from(["row", "column"]), st.none() | finite, st.lists(whole, max_size=3))
anything = st.recursive(
    st.none() | st.booleans() | whole | finite | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
trees = st.builds(
    Tree, st.booleans(), whole, st.lists(leaves, max_size=3), st.dictionaries(st.text(), finite, max_size=3), anything
)


@given(trees)
@settings(max_examples=50, deadline=None)
def test_a_tree_comes_back_as_it_was(tree: Tree) -> None:
    assert from_plain(Tree, parse_json(json.dumps(to_plain(tree), allow_nan=False))) == tree


@given(st.recursive(st.floats() | st.text() | st.binary() | st.complex_numbers(), lambda x: st.lists(x, max_size=3)))
@settings(max_examples=50, deadline=None)
def test_no_value_makes_a_file_that_cannot_be_read(value: Any) -> None:
    parse_json(json.dumps(to_plain({"value": value}), allow_nan=False))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (torch.tensor([[1.5, float("nan")]]), [[1.5, None]]),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        ((1, (2, "x")), [1, [2, "x"]]),
        ({1: math.inf}, {"1": None}),
        (1j, "1j"),
    ],
)
def test_numbers_of_other_libraries_become_plain_ones(value: Any, plain: Any) -> None:
    assert to_plain(value) == plain


TREE = to_plain(Tree(True, 3, [Leaf("a", "row")], {"x": 1.0}))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"done": 1}, "'done' is 1, must be true or false"),
        ({"steps": True}, "'steps' is true, must be a whole number"),
        ({"steps": 1.5}, "'steps' is 1.5, must be a whole number"),
        ({"leaves": {}}, "'leaves' is {}, must be a list"),
        ({"leaves": [{"name": "a", "kind": "both"}]}, "'leaves[0].kind' is \"both\", must be one of row, column"),
        ({"leaves": [{"name": "a"}]}, "key 'leaves[0].kind' is missing"),
        ({"named": {"x": "high"}}, "'named.x' is \"high\", must be a number"),
        ({"named": {"x": 1e999}}, "'named.x' is Infinity, must be a number"),
        ({"named": [1]}, "'named' is [1], must be an object"),
        ({"stepz": 1}, "unknown key 'stepz' (did you mean steps?); allowed: done, steps, leaves, named, note"),
        ({"leaves": "x" * 100}, f"'leaves' is \"{'x' * 38}…{'x' * 19}\", must be a list"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as caught:
        from_plain(Tree, {**TREE, **changes})
    assert str(caught.value) == says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("NaN", "NaN is no JSON number"),
        ("[Infinity]", "Infinity is no JSON number"),
        ('{"a": -Infinity}', "-Infinity is no JSON number"),
        ("[" * 100_000, "nested too deeply"),
        ("", "Expecting value"),
        ("{", "Expecting property name"),
    ],
    ids=["nan", "infinity", "minus infinity", "deep", "empty", "cut short"],
)
def test_what_is_no_strict_json_is_a_value_error(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_json(text)
