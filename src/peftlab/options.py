"""Build a dataclass from a user's options; every mistake becomes one clear line."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from peftlab.errors import UserError, nearest

T = TypeVar("T")


def build(cls: type[T], options: Mapping[str, Any], where: str) -> T:
    """Return `cls(**options)` with names and types checked.

    Args:
        cls: a dataclass whose fields are the options.
        options: the values given, as a YAML file or a command line spells them.
        where: the name of the group for messages, as in ``strategy.k``.

    Raises:
        UserError: an unknown or missing option, or a value of another type than the field's.
    """
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}  # type: ignore[arg-type]
    for name in options:
        if name not in fields:
            raise UserError(
                f"{where}.{name}: no such option{nearest(str(name), fields)}; allowed are {', '.join(fields)}"
            )
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in options:
            raise UserError(f"{where}.{name}: missing")
    hints = get_type_hints(cls)
    return cls(**{name: checked(value, hints[name], f"{where}.{name}") for name, value in options.items()})


def checked(value: Any, kind: Any, where: str) -> Any:
    """Return a value that is of type `kind`, whole numbers as floats where those are asked for.

    Raises:
        UserError: it is of another type; names `where`, the value and what is allowed.
    """
    if kind is float and type(value) is int:
        return float(value)
    if not _fits(value, kind):
        raise UserError(f"{where}={value}: allowed {_spelt(kind)}")
    return value


def _fits(value: Any, kind: Any) -> bool:
    origin = get_origin(kind)
    if kind is Any:
        return True
    if origin is Literal:
        return value in get_args(kind)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in get_args(kind))
    plain = origin or kind
    if plain in (int, float) and isinstance(value, bool):
        return False
    if plain is float:
        return isinstance(value, (int, float))
    if not isinstance(value, plain):
        return False
    contents = value.values() if isinstance(value, Mapping) else value
    return origin is None or all(_fits(part, get_args(kind)[-1]) for part in contents)


def _spelt(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "are " + ", ".join(str(choice) for choice in get_args(kind))
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(_spelt(part) for part in get_args(kind))
    if get_origin(kind) is not None:
        shape = "list" if get_origin(kind) is list else "table"
        return f"is a {shape}, each entry of which {_spelt(get_args(kind)[-1])}"
    names = {int: "is a whole number", float: "is a number", bool: "are true, false", str: "is a text"}
    return {**names, types.NoneType: "is null", Any: "is any value"}.get(kind, "is a table of values")
