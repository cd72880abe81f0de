"""Every strategy on every type of model keeps the essentials of its contract, or says in a line why it does not fit."""

from typing import Any

import pytest

from docs.compatibility import PAGE, page
from models import strategy_or_skip
from peftlab.backbones.architecture import ARCHITECTURES
from peftlab.check.essentials import keeps_the_essentials
from peftlab.check.promise import DoesNotApplyError
from peftlab.check.small import Trial
from peftlab.strategies.registry import strategy_names

TYPES = [
    kind
    for family in ARCHITECTURES.classes()
    if family.__module__.startswith("peftlab.")
    for kind in family.model_types
]
OPTIONS: dict[str, dict[str, Any]] = {"hifi": {"n": 4, "k": 2}, "child-tuning": {"n": 4}}


@pytest.mark.parametrize("name", strategy_names())
@pytest.mark.parametrize("kind", TYPES)
def test_a_strategy_fits_a_type_of_model_or_says_why_not(kind: str, name: str) -> None:
    try:
        keeps_the_essentials(Trial(strategy_or_skip(name, OPTIONS.get(name, {})), kind))
    except DoesNotApplyError as reason:
        pytest.skip(str(reason))


def test_the_page_of_what_fits_says_what_the_strategies_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "python docs/compatibility.py writes it anew"
