"""Dataclass trees as JSON: no value can make a written file unreadable, and reading checks every type."""

import dataclasses
import json
import math
import sys
import types
import typing
from collections.abc import Callable, Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from peftlab.errors import UserError, nearest

T = TypeVar("T")

NAMES = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    dict: "an object",
    list: "a list",
}


def to_plain(value: Any) -> Any:
    """Return `value` as strict JSON data: NaN and infinities become None, since JSON has no word for them.

    Tensors and arrays become (nested) lists, scalars numbers, and anything unknown its text: a finished run
    must not lose its record to one odd configuration value.
    """
    if dataclasses.is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    return to_plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def read(file: Path, what: str, make: Callable[[Any], T]) -> T:
    """Return what `make` makes of the JSON data in `file`, which messages call a `what`.

    Raises:
        UserError: naming the file, which cannot be read, is no whole JSON file, or holds what `make` refuses.
    """
    try:
        return make(parse(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"cannot read the {what} {file}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{file} is not a whole JSON file: {error}") from error
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def parse(text: str) -> Any:
    """Return the JSON data in `text`; ValueError when it is not strict JSON (a bare NaN is not)."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is no JSON number")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def from_plain(kind: Any, value: Any, at: str = "") -> Any:
    """Return `value` as the type `kind`: a dataclass, list, dict, Literal, `X | None` or a plain type.

    `at` is the dotted place of the value, named by the UserError that anything unfitting raises. Keys that
    the dataclass does not know are refused: an unread key is a result that somebody believes was read.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _to_dataclass(kind, value, at)
    if origin is types.UnionType:
        required = [argument for argument in arguments if argument is not types.NoneType]
        return None if value is None else from_plain(required[0], value, at)
    if origin is typing.Literal:
        allowed = ", ".join(map(str, arguments))
        return value if value in arguments else _refuse(at, value, f"one of {allowed}")
    if origin is list:
        return [from_plain(arguments[0], item, f"{at}[{i}]") for i, item in enumerate(_check(list, value, at))]
    if origin is dict:
        return {key: from_plain(arguments[1], item, _join(at, key)) for key, item in _check(dict, value, at).items()}
    return _check(kind, value, at)


def _to_dataclass(kind: Any, value: Any, at: str) -> Any:
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind) if field.init}
    _check(dict, value, at)
    for key in value.keys() - fields.keys():
        raise UserError(f"unknown key {_join(at, key)!r}{nearest(key, fields)}; allowed: {', '.join(fields)}")
    for name, field in fields.items():
        optional = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        if name not in value and not optional:
            raise UserError(f"key {_join(at, name)!r} is missing")
    return kind(**{key: from_plain(hints[key], item, _join(at, key)) for key, item in value.items()})


def _check(kind: type, value: Any, at: str) -> Any:
    """Return `value` if its JSON type is `kind`; true is not 1, but 1 is a fine float."""
    fits = isinstance(value, (int, float) if kind is float else kind)
    if kind is not bool:
        fits = fits and not isinstance(value, bool)
    if kind is float:
        fits = fits and abs(value) <= sys.float_info.max  # JSON's 1e999 is read as infinity
    return value if fits else _refuse(at, value, NAMES[kind])


def _refuse(at: str, value: Any, allowed: str) -> typing.NoReturn:
    shown = json.dumps(value)
    shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
    raise UserError(f"{at or 'the content'!r} is {shown}, must be {allowed}")


def _join(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key
