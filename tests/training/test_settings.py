"""What a run trains with: the particular goes before the general, the user before all."""

from typing import Any

import pytest

from peftlab.errors import UserError
from peftlab.training.settings import look_up, resolve_settings

FULL = {"per_class": None, "epochs": None}
FEW = {"per_class": 16, "epochs": 50}
NOTHING = {"learning_rate": None, "batch_size": None, "weight_decay": 0.01, "warmup": 0.1}

DEFAULT = {"batch_size": 32, "learning_rate": 1e-4, "epochs": 3}
# Each entry adds one source to those above it: what it says, and the learning rate, batch size and epochs then.
SOURCES = [
    ("default", {"default": DEFAULT}, (1e-4, 32, 3)),
    ("epochs of the task", {"epochs": {"rte": 10, "qqp": 4}}, (1e-4, 32, 10)),
    ("the row's default", {"row": {"default": {"learning_rate": 2e-4, "epochs": 11}}}, (2e-4, 32, 11)),
    ("the row's task", {"task": {"rte": {"learning_rate": 3e-4, "epochs": 12}, "qqp": {"epochs": 99}}}, (3e-4, 32, 12)),
]


def recipe_of(sources: list[tuple[str, dict[str, Any], Any]]) -> dict[str, Any]:
    parts = {key: value for _, part, _ in sources for key, value in part.items()}
    row = {**parts.pop("row", {}), **parts.pop("task", {})}
    return {**parts, "strategies": {"hifi": row, "other": {"default": {"learning_rate": 9.0}}}}


@pytest.mark.parametrize("count", range(1, len(SOURCES) + 1), ids=[name for name, _, _ in SOURCES])
def test_the_particular_goes_before_the_general(count: int):
    found = resolve_settings(NOTHING, recipe_of(SOURCES[:count]), FULL, "hifi", "rte")
    assert (found.learning_rate, found.batch_size, found.epochs) == SOURCES[count - 1][2]


def test_shots_go_before_the_recipe_and_the_user_before_the_shots():
    recipe = recipe_of(SOURCES)
    few = resolve_settings(NOTHING, recipe, FEW, "hifi", "rte")
    assert (few.learning_rate, few.batch_size, few.epochs) == (3e-4, None, 50)
    user = {**NOTHING, "learning_rate": 5e-4, "batch_size": 8, "warmup": 0.0}
    given = resolve_settings(user, recipe, FEW, "hifi", "rte")
    assert (given.learning_rate, given.batch_size, given.epochs, given.warmup) == (5e-4, 8, 50, 0.0)


def test_more_shots_than_one_batch_holds_may_name_its_size():
    many = {"per_class": 256, "epochs": 10, "batch_size": 32}
    assert resolve_settings(NOTHING, recipe_of(SOURCES), many, "hifi", "rte").batch_size == 32
    given = resolve_settings({**NOTHING, "batch_size": 8}, recipe_of(SOURCES), many, "hifi", "rte")
    assert (given.batch_size, given.epochs) == (8, 10)


def test_a_row_or_a_task_that_is_not_there_falls_back_on_the_default():
    recipe = recipe_of(SOURCES)
    assert look_up(recipe, "unheard-of", "unheard-of") == DEFAULT
    assert look_up(recipe, "other", "rte") == {**DEFAULT, "epochs": 10, "learning_rate": 9.0}


def test_looking_up_leaves_the_recipe_as_it_is():
    recipe = recipe_of(SOURCES)
    resolve_settings(NOTHING, recipe, FEW, "hifi", "rte")
    assert recipe == recipe_of(SOURCES)


def test_without_a_rate_the_message_says_what_to_give():
    with pytest.raises(
        UserError, match=r"^recipe: .*strategy hifi on task rte: .*recipe=NAME.* training\.learning_rate"
    ):
        resolve_settings(NOTHING, {"default": {"batch_size": 32}}, FULL, "hifi", "rte")
    given = {**NOTHING, "learning_rate": 1e-3}
    assert resolve_settings(given, {"default": {"batch_size": 32, "epochs": 2}}, FULL, "hifi", "rte").epochs == 2


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("learning_rate", 0, "above 0"),
        ("learning_rate", -1e-3, "above 0"),
        ("learning_rate", float("nan"), "above 0"),
        ("learning_rate", "abc", "a number"),
        ("batch_size", 0, "1 or more"),
        ("batch_size", 2.5, "whole number"),
        ("epochs", 0, "1 or more"),
        ("weight_decay", -0.1, "0 or more"),
        ("warmup", 1, "a share of all steps"),
        ("warmup", -0.1, "a share of all steps"),
        ("warmup_steps", -1, "0 or more, or null"),
        ("speed", 1, "no such option"),
    ],
)
def test_a_value_out_of_range_is_named_with_what_is_allowed(name: str, value: Any, allowed: str):
    with pytest.raises(UserError) as caught:
        resolve_settings({**NOTHING, name: value}, {"default": DEFAULT}, FULL, "hifi", "rte")
    message = str(caught.value)
    assert message.startswith(f"training.{name}")
    assert allowed in message
    assert "\n" not in message


def test_the_ends_of_the_ranges_are_allowed():
    edge = {"learning_rate": 1e-9, "batch_size": 1, "epochs": 1, "weight_decay": 0.0, "warmup": 0.0}
    found = resolve_settings(edge, {"default": DEFAULT}, FULL, "hifi", "rte")
    assert {name: getattr(found, name) for name in edge} == edge
