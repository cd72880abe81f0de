from collections import Counter
from pathlib import Path

import pytest

from peftlab.data.shots import few_shot
from peftlab.errors import UserError
from peftlab.tasks.kind import kind_of
from peftlab.tasks.sources.splits import load_splits
from tasks.shipped import shipped

MANY = [0, 1, 2, 1] * 100


def strata(labels: list[int], classes: int = 3) -> list[list[int]]:
    return [[row for row, label in enumerate(labels) if label == which] for which in range(classes)]


def label_counts(rows: list[int]) -> Counter[int]:
    return Counter(MANY[row] for row in rows)


@pytest.mark.parametrize("seed", [0, 1, 42])
@pytest.mark.parametrize("per_class", [1, 16, 50])
def test_each_class_gives_k_examples_to_train_and_k_others_to_validate(seed: int, per_class: int):
    chosen = few_shot(strata(MANY), per_class, seed)
    for part in chosen:
        assert label_counts(part) == {0: per_class, 1: per_class, 2: per_class}
    assert len({*chosen[0], *chosen[1]}) == 6 * per_class


def test_the_walk_takes_the_first_k_of_a_class_to_train_and_the_next_k_to_validate():
    train, _ = few_shot(strata(MANY), 50, seed=3)
    fewer_train, fewer_validation = few_shot(strata(MANY), 25, seed=3)
    first = [index for index in train if MANY[index] == 0]
    fewer = [index for index in [*fewer_train, *fewer_validation] if MANY[index] == 0]
    assert fewer == first


def test_the_seed_decides_and_zero_is_a_seed_like_any_other():
    draws = [few_shot(strata(MANY), 16, seed)[0] for seed in (0, 1, 2)]
    assert draws[0] == few_shot(strata(MANY), 16, 0)[0]
    assert len({tuple(draw) for draw in draws}) == 3


@pytest.mark.parametrize(
    ("labels", "per_class", "message"),
    [
        ([0] * 40 + [1] * 15, 16, "shots=16: fewer than 16 examples of class 1; the training set has 15"),
        ([0] * 40, 16, "fewer than 16 examples of class 1; the training set has 0"),
        ([0] * 40 + [1] * 31, 16, "class 1 has 31 examples in the training set; 16 to train and 16 to validate"),
        ([0, 1], 0, "shots=0: allowed are whole numbers from 1, or full"),
    ],
)
def test_what_cannot_be_drawn_is_refused(labels: list[int], per_class: int, message: str):
    with pytest.raises(UserError) as caught:
        few_shot(strata(labels, classes=2), per_class, 0)
    assert message in str(caught.value)


def test_real_mnli_gives_48_and_48(shared_data: Path):
    train = load_splits(shipped("mnli"), shared_data)["train"]
    assert [len(part) for part in few_shot(kind_of(shipped("mnli")).strata(train), 16, 0)] == [48, 48]


def test_where_there_are_no_classes_k_of_all_rows_train_and_k_others_validate():
    train, validation = few_shot([list(range(40))], 16, seed=0)
    assert (len(train), len(validation), len({*train, *validation})) == (16, 16, 32)
