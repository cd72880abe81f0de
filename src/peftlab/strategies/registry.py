"""Finds strategies by their files: `my_method.py` holds the strategy `my-method`."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peftlab.errors import UserError, nearest
from peftlab.options import build
from peftlab.strategies.contract import Strategy

_NOT_METHODS = {"bases", "contract", "registry", "restore"}


def strategy_names() -> list[str]:
    """Return the names of all strategies, without importing them."""
    modules = pkgutil.iter_modules([str(Path(__file__).parent)])
    return sorted(module.name.replace("_", "-") for module in modules if module.name not in _NOT_METHODS)


def strategy_class(name: str) -> type[Strategy]:
    """Return the class of strategy `name`.

    Raises:
        UserError: no such strategy.
    """
    names = strategy_names()
    if name not in names:
        raise UserError(f"strategy={name}: no such strategy{nearest(name, names)}; there are {', '.join(names)}")
    module = importlib.import_module(f"peftlab.strategies.{name.replace('-', '_')}")
    classes = (value for _, value in inspect.getmembers(module, inspect.isclass))
    return next(cls for cls in classes if issubclass(cls, Strategy) and getattr(cls, "name", None) == name)


def create_strategy(name: str, options: Mapping[str, Any]) -> Strategy:
    """Return strategy `name` with checked `options`.

    Raises:
        UserError: no such strategy or option, or a value that is not allowed.
    """
    return build(strategy_class(name), options, "strategy")
