"""Finds strategies by their files: `my_method.py` holds the strategy `my-method`; a user's packages add to them."""

from collections.abc import Mapping
from typing import Any

from peftlab.options.schema import build
from peftlab.registry import Registry
from peftlab.strategies.contract import Strategy

# The type checker takes no abstract class for a type; here it only says what others derive from.
STRATEGIES: Registry[Strategy] = Registry(
    Strategy,  # type: ignore[type-abstract]
    "peftlab.strategies",
    "strategy",
    but={"attached", "bases", "contract", "registry", "restore", "traits"},
)


def strategy_names() -> list[str]:
    """Return the names of all strategies, those of the laboratory without importing them."""
    return STRATEGIES.names()


def strategy_class(name: str) -> type[Strategy]:
    """Return the class of strategy `name`.

    Raises:
        UserError: no such strategy.
    """
    return STRATEGIES.get(name)


def create_strategy(name: str, options: Mapping[str, Any]) -> Strategy:
    """Return strategy `name` with checked `options`.

    Raises:
        UserError: no such strategy or option, or a value that is not allowed.
    """
    return build(strategy_class(name), options, "strategy")
