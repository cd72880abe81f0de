"""The few-shot protocol: k examples a class for training and k others for validation, both from the training set."""

import torch
from datasets import Dataset

from peftlab.errors import UserError, require


def few_shot(train: Dataset, per_class: int, seed: int, num_labels: int) -> tuple[list[int], list[int]]:
    """Return the row numbers of the few-shot training set and of its validation set, in the order drawn.

    The rows are shuffled by `seed` and walked once: of each class the first k train, the next k validate (Sun et
    al. 2022, which HiFi App. A.3 follows). The two sets share no row.

    Args:
        train: the original training set, with a column `label` of class ids.
        per_class: k, at least 1.
        seed: decides the shuffle; every seed, 0 too, gives its own.
        num_labels: number of classes; 1 means a regression, which has none.

    Raises:
        UserError: a regression task, k under 1, or a class with fewer than k or 2k examples.
    """
    require(num_labels > 1, f"shots={per_class}: a regression task (such as stsb) has no classes to draw from")
    require(per_class >= 1, f"shots={per_class}: allowed are whole numbers from 1, or full")
    labels: list[int] = train["label"][:]
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed)).tolist()
    drawn: list[list[int]] = [[] for _ in range(num_labels)]
    chosen: tuple[list[int], list[int]] = ([], [])
    for index in order:
        of_class = drawn[labels[index]]
        if len(of_class) < 2 * per_class:
            chosen[len(of_class) >= per_class].append(index)
            of_class.append(index)
    for label, of_class in enumerate(drawn):
        _require_enough(label, len(of_class), per_class)
    return chosen


def _require_enough(label: int, found: int, per_class: int) -> None:
    if found < per_class:
        raise UserError(
            f"shots={per_class}: fewer than {per_class} examples of class {label}; the training set has {found}"
        )
    if found < 2 * per_class:
        needed = f"{per_class} to train and {per_class} to validate are needed"
        raise UserError(f"shots={per_class}: class {label} has {found} examples in the training set; {needed}")


def hold_out(examples: int, share: float) -> tuple[list[int], list[int]]:
    """Return the rows to train on and the rows held out, drawn from a fixed seed: every run of a search sees the same.

    Args:
        examples: rows in the training set.
        share: of them to hold out, in (0, 1); at least one row is left on both sides.
    """
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(0)).tolist()
    held = min(max(1, round(share * examples)), examples - 1)
    return sorted(order[held:]), sorted(order[:held])
