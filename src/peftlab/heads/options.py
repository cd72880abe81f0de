"""What HiFi's options may be; each check is one line to the user, before any head is scored."""

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

from peftlab.errors import nearest, require
from peftlab.heads.ranking import SCORES
from peftlab.heads.units import Unit, unit_size

Orientation = Literal["column", "row"]
Teleport = Literal["uniform", "richness"]
Variant = Literal["layer-wise", "mid-top"]


def check_xi(xi: float) -> None:
    """Raise UserError unless `xi`, the threshold of Eq. 2, lies in (0, 1]."""
    require(_is_number(xi) and 0 < xi <= 1, f"xi={xi}: the share of singular values must be a number in (0, 1]")


def check_pagerank(*, d: float, eps: float, max_iter: int, orientation: str, teleport: str) -> None:
    """Raise UserError unless every option of `pagerank` lies where it may."""
    require(_is_number(d) and 0 <= d < 1, f"d={d}: the damping factor must be a number in [0, 1)")
    require(_is_number(eps) and 0 < eps < math.inf, f"eps={eps}: the bound on the change must be a number above 0")
    require(_is_whole(max_iter) and max_iter >= 1, f"max_iter={max_iter}: must be a whole number of at least 1")
    _check_word("orientation", orientation, get_args(Orientation))
    _check_word("teleport", teleport, get_args(Teleport))


def check_score(score: str) -> None:
    """Raise UserError unless there is a score of this name, in the laboratory or in a package of the user's."""
    names = SCORES.names()
    require(
        score in names,
        f"score={score}: unknown{nearest(str(score), names)}; allowed are {', '.join(names)}, "
        "and what a package of yours has (plugins=[PACKAGE])",
    )


def check_selection(
    num_heads: int, *, k: int, score: str, variant: str, seed: int, unit: Unit = "query", group: int = 1
) -> None:
    """Raise UserError unless `k` units of `num_heads` heads can be chosen by `score` in the layers of `variant`."""
    check_score(score)
    _check_word("variant", variant, get_args(Variant))
    _check_word("unit", unit, get_args(Unit))
    most, of = num_heads // unit_size(unit, group), "heads" if unit == "query" else "key groups"
    require(_is_whole(k) and 1 <= k <= most, f"k={k}: must be a whole number from 1 to {most}, the {of} of a layer")
    require(_is_whole(seed), f"seed={seed}: must be a whole number")


def _check_word(name: str, value: Any, allowed: Sequence[str]) -> None:
    hint = nearest(str(value), allowed)
    require(value in allowed, f"{name}={value}: unknown{hint}; allowed are {', '.join(allowed)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
