"""Handwritten digits that scikit-learn brings along: real images, 8 x 8, without a network or files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from peftlab.errors import require
from peftlab.inputs.image_files import stored

TRAIN = 1200  # the first rows; the other 597 validate. One writer's digits stand together, so that few are in both.


def make_digits(labels: Sequence[str]) -> dict[str, dict[str, list[Any]]]:
    """Return the columns `id`, `image` and `label` of train and validation, in the order of scikit-learn's rows.

    Alpaydin and Kaynak, 1998 (UCI, "Optical Recognition of Handwritten Digits", its test set): 1,797 images of 17 grey
    levels.

    Args:
        labels: the digits that are taken; a row's label is the place of its digit among these.

    Raises:
        UserError: a label that is no digit.
    """
    digits = [str(digit) for digit in range(10)]
    for label in labels:
        require(label in digits, f"label {label!r}; allowed are {', '.join(digits)}")
    found = load_digits()
    images = (found.images * 255 / 16).round().astype(np.uint8)
    chosen = [row for row, digit in enumerate(found.target) if str(digit) in labels]
    return {
        name: {
            "id": [f"digit {row}" for row in rows],
            "image": [stored(images[row], "image") for row in rows],
            "label": [list(labels).index(str(found.target[row])) for row in rows],
        }
        for name, rows in (
            ("train", [row for row in chosen if row < TRAIN]),
            ("validation", [row for row in chosen if row >= TRAIN]),
        )
    }
