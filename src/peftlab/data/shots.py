"""The few-shot protocol: k examples a class for training and k others for validation, both from the training set."""

from collections.abc import Mapping, Sequence

import torch

from peftlab.errors import UserError, require
from peftlab.streams import Stream, seed_of


def few_shot(strata: Sequence[Sequence[int]], per_class: int, seed: int) -> tuple[list[int], list[int]]:
    """Return the row numbers of the few-shot training set and of its validation set, in the order drawn.

    The rows are shuffled by `seed` and walked once: of each class the first k train, the next k validate (Sun et
    al. 2022, which HiFi App. A.3 follows). The two sets share no row.

    Args:
        strata: the rows of each class, which are together all rows of the original training set.
        per_class: k, at least 1.
        seed: decides the shuffle; every seed, 0 too, gives its own.

    Raises:
        UserError: k under 1, or a class with fewer than k or 2k examples.
    """
    require(per_class >= 1, f"shots={per_class}: allowed are whole numbers from 1, or full")
    class_of = {row: label for label, rows in enumerate(strata) for row in rows}
    drawn = [0] * len(strata)
    chosen: tuple[list[int], list[int]] = ([], [])
    start = seed_of(Stream.SHOTS, seed)
    for row in torch.randperm(len(class_of), generator=torch.Generator().manual_seed(start)).tolist():
        label = class_of[row]
        if drawn[label] < 2 * per_class:
            chosen[drawn[label] >= per_class].append(row)
            drawn[label] += 1
    for label, found in enumerate(drawn):
        _require_enough(label, found, per_class)
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
    start = seed_of(Stream.HELD_OUT, 0)
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(start)).tolist()
    held = min(max(1, round(share * examples)), examples - 1)
    return sorted(order[held:]), sorted(order[:held])


def one_sided(classes: Mapping[str, Sequence[int]], held_out: Sequence[int]) -> list[str]:
    """Return a sentence on the classes of which no row is held out, and one on those of which every row is.

    Args:
        classes: the rows of each class by its name; one without rows is on no side.
        held_out: the rows held out.
    """
    held = set(held_out)
    counts = {name: (len(rows), sum(row in held for row in rows)) for name, rows in classes.items() if rows}
    never = [f"{name} ({rows} examples)" for name, (rows, number) in counts.items() if number == 0]
    always = [f"{name} ({rows} examples)" for name, (rows, number) in counts.items() if number == rows]
    told = [f"nothing is held out of {', '.join(never)}: no score tells of that"] if never else []
    return [*told, *([f"all of {', '.join(always)} is held out: nothing learns that"] if always else [])]
