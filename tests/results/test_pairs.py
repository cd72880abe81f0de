"""What a sweep could show, said before it starts: of its methods, tasks and seeds alone."""

from itertools import product

import pytest

from peftlab.results.pairs import what_a_sweep_can_show


def jobs(**swept: list[str]) -> list[list[str]]:
    """The overrides of a sweep's runs; `__` stands for the dot of a name."""
    names = [name.replace("__", ".") for name in swept]
    return [[f"{name}={value}" for name, value in zip(names, of, strict=True)] for of in product(*swept.values())]


@pytest.mark.parametrize(
    ("swept", "told"),
    [
        (
            {"strategy": ["hifi"], "seed": ["1", "2", "3"]},
            "1 method, 1 task, 3 seeds: against another method 3 pairs: no difference can be shown, 6 seeds can",
        ),
        (
            {"strategy": ["hifi", "lora"], "seed": ["1", "2", "3"]},
            "2 methods, 1 task, 3 seeds: 3 pairs: no difference can be shown, 6 seeds can",
        ),
        (
            {"strategy": ["hifi", "lora"], "seed": list("123456")},
            "2 methods, 1 task, 6 seeds: 6 pairs: differences can be shown",
        ),
        (
            {"strategy": ["hifi", "lora", "full", "bitfit"], "task": ["rte", "mrpc"], "seed": list("123")},
            "4 methods, 2 tasks, 3 seeds: on a task 3 pairs of 12 comparisons: no difference can be shown, 9 seeds can;"
            " over the tasks 6 pairs of 6 comparisons: no difference can be shown, 4 seeds can",
        ),
        (
            {"strategy__k": ["1", "2", "3"], "seed": ["1"]},
            "3 methods, 1 task, 1 seed: 1 pair of 3 comparisons: no difference can be shown, 7 seeds can",
        ),
    ],
)
def test_a_sweep_says_how_many_pairs_it_has_and_what_they_could_show(swept: dict[str, list[str]], told: str) -> None:
    assert what_a_sweep_can_show(jobs(**swept)) == [told]


def test_backbones_are_never_compared_and_what_makes_no_other_run_is_no_method() -> None:
    swept = jobs(backbone=["minilm", "tiny"], strategy=["hifi", "lora"], seed=list("123456"), data__root=["a", "b"])
    enough = "2 methods, 1 task, 6 seeds: 6 pairs: differences can be shown"
    assert what_a_sweep_can_show(swept) == [f"minilm: {enough}", f"tiny: {enough}"]


def test_a_recipe_names_a_method() -> None:
    (told,) = what_a_sweep_can_show(jobs(recipe=["mine", "minilm"], seed=list("123456")))
    assert told.startswith("2 methods, 1 task, 6 seeds")
