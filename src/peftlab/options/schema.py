"""The one reader of dataclasses: a user's options, and the laboratory's JSON files.

Both walk the same types and refuse whatever does not fit by its place, in one line. They differ in their words:
a user reads ``strategy.k=x: allowed is a whole number``, a file's reader ``'seed' is "x", must be a whole number``.
"""

import dataclasses
import json
import math
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, Union, get_args, get_origin, get_type_hints

from peftlab.errors import UserError, nearest, shown
from peftlab.files import read_text

DEEPEST = 64  # levels of JSON; what walks through the data calls itself for each
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_BEYOND = 2**63  # of whole numbers
_VALUE = 60  # characters of a value that a message shows

T = TypeVar("T")


def build(cls: type[T], options: Mapping[str, Any], where: str) -> T:
    """Return `cls(**options)` with names and types checked; a field that is a dataclass is read from a table.

    Args:
        cls: a dataclass whose fields are the options.
        options: the values given, as a YAML file or a command line spells them.
        where: the name of the group for messages, as in ``strategy.k``.

    Raises:
        UserError: an unknown or missing option, or a value of another type than the field's.
    """
    built: T = _read(cls, options, where, _Options())
    return built


def checked(value: Any, kind: Any, where: str) -> Any:
    """Return a value that is of type `kind`, whole numbers as floats where those are asked for.

    Raises:
        UserError: it is of another type; names `where`, the value and what is allowed.
    """
    return _read(kind, value, where, _Options())


def from_plain(kind: Any, value: Any, at: str = "") -> Any:
    """Return JSON data as the type `kind`: a dataclass, list, dict, Literal, `X | None` or a plain type.

    Args:
        kind: the type.
        value: the data.
        at: the dotted place of the value, for messages.

    Raises:
        UserError: what does not fit. Keys that a dataclass does not know are refused: an unread key is a result that
            somebody believes was read.
    """
    return _read(kind, value, at, _Json())


def to_plain(value: Any) -> Any:
    """Return `value` as strict JSON data: NaN and infinities become None, since JSON has no word for them.

    Tensors and arrays become (nested) lists, scalars numbers, and anything unknown its text: a finished run
    must not lose its record to one odd configuration value.
    """
    if dataclasses.is_dataclass(value):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
    if isinstance(value, Mapping):
        return {to_plain(str(key)): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, str):
        # A path whose bytes are not UTF-8 holds half surrogate pairs, which no strict JSON file may.
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Integral):
        return int(value) if -_BEYOND <= int(value) < _BEYOND else str(value)
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    return to_plain(value.tolist()) if hasattr(value, "tolist") else str(value)


def read_json(file: Path, what: str, make: Callable[[Any], T]) -> T:
    """Return what `make` makes of the JSON data in `file`, which messages call a `what`.

    Raises:
        UserError: naming the file, which cannot be read, is no whole JSON file, or holds what `make` refuses.
    """
    try:
        return make(parse_json(read_text(file)))
    except OSError as error:
        raise UserError(f"cannot read the {what} {file}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{file} is not a whole JSON file: {error}") from error
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def parse_json(text: str, any_number: bool = False) -> Any:
    """Return the JSON data in `text`: every text in it can be written as UTF-8, every number computed with.

    Args:
        text: the content of a file.
        any_number: takes NaN and numbers of any size, for a caller who says which field holds one.

    Raises:
        ValueError: it is not strict JSON (a bare NaN is not), is nested too deeply for those who walk through it, or
            holds half a surrogate pair or a number of more than 64 bits.
    """
    try:
        data = json.loads(text, **({} if any_number else _NUMBERS))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not _is_shallow(data):
        raise ValueError(f"nested too deeply, more than {DEEPEST} levels")
    if _SURROGATE.search(text):
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    return data


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _whole_number(digits: str) -> int:
    # Python takes its time for a number of many digits.
    value = int(digits) if len(digits) <= 20 else None
    if value is None or not -_BEYOND <= value < _BEYOND:
        raise ValueError(f"{shown(digits, 40)} is too large a number")
    return value


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{shown(digits, 40)} is too large a number")
    return value


_NUMBERS: dict[str, Any] = {
    "parse_constant": _refuse_constant,
    "parse_int": _whole_number,
    "parse_float": _number,
}


def _is_shallow(data: Any) -> bool:
    level = [data] if isinstance(data, (dict, list)) else []
    for _ in range(DEEPEST + 1):
        parts = [part.values() if isinstance(part, dict) else part for part in level]
        level = [item for part in parts for item in part if isinstance(item, (dict, list))]
        if not level:
            return True
    return False


class _Words(Protocol):
    """How a mistake is told; `at` is the dotted place of what is wrong."""

    finite: bool  # whether infinity is no number: JSON's 1e999 is read as it

    def wrong(self, at: str, value: Any, kind: Any) -> str: ...
    def unknown(self, at: str, name: str, fields: Iterable[str]) -> str: ...
    def missing(self, at: str) -> str: ...


class _Options:
    finite = False

    def wrong(self, at: str, value: Any, kind: Any) -> str:
        return f"{at}={shown(value, _VALUE)}: allowed {self._spelt(kind)}"

    def unknown(self, at: str, name: str, fields: Iterable[str]) -> str:
        return f"{at}: no such option{nearest(name, fields)}; allowed are {', '.join(fields)}"

    def missing(self, at: str) -> str:
        return f"{at}: missing"

    def _spelt(self, kind: Any) -> str:
        if get_origin(kind) is Literal:
            choices = ", ".join(map(str, get_args(kind)))
            return f"{'are' if ', ' in choices else 'is'} {choices}"
        if get_origin(kind) in _UNIONS:
            return " or ".join(self._spelt(part) for part in get_args(kind))
        if get_origin(kind) is not None:
            shape = "list" if get_origin(kind) is list else "table"
            return f"is a {shape}, each entry of which {self._spelt(get_args(kind)[-1])}"
        if dataclasses.is_dataclass(kind):
            return f"is a table with {', '.join(f.name for f in dataclasses.fields(kind) if f.init)}"
        names = {int: "is a whole number", float: "is a number", bool: "are true, false", str: "is a text"}
        return {**names, types.NoneType: "is null", Any: "is any value"}.get(kind, "is a table of values")


class _Json:
    finite = True

    def wrong(self, at: str, value: Any, kind: Any) -> str:
        return f"{at or 'the content'!r} is {shown(json.dumps(value), _VALUE)}, must be {self._spelt(kind)}"

    def unknown(self, at: str, name: str, fields: Iterable[str]) -> str:
        return f"unknown key {at!r}{nearest(name, fields)}; allowed: {', '.join(fields)}"

    def missing(self, at: str) -> str:
        return f"key {at!r} is missing"

    def _spelt(self, kind: Any) -> str:
        if get_origin(kind) is Literal:
            return f"one of {', '.join(map(str, get_args(kind)))}"
        if get_origin(kind) in _UNIONS:
            return self._spelt(get_args(kind)[0])
        names = {str: "text", bool: "true or false", int: "a whole number", float: "a number", list: "a list"}
        return names.get(get_origin(kind) or kind, "an object")


_UNIONS = (Union, types.UnionType)


def _read(kind: Any, value: Any, at: str, words: _Words) -> Any:
    """Return `value` as `kind`, all that it holds included."""
    if kind is Any:
        return value
    infinite = words.finite and isinstance(value, float) and math.isinf(value)
    if infinite or not _is_a(kind, value):
        raise UserError(words.wrong(at, value, kind))
    parts = get_args(kind)
    if get_origin(kind) in _UNIONS:
        return _read(next(part for part in parts if _is_a(part, value)), value, at, words)
    if dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else _fill(kind, value, at, words)  # type: ignore[arg-type]
    if get_origin(kind) is list:
        return [_read(parts[0], item, f"{at}[{i}]", words) for i, item in enumerate(value)]
    if parts and isinstance(value, Mapping):
        return {key: _read(parts[1], item, _join(at, key), words) for key, item in value.items()}
    return float(value) if kind is float else value


def _is_a(kind: Any, value: Any) -> bool:
    """Return whether `value` is a `kind` from outside; what it holds is not looked at."""
    origin = get_origin(kind)
    if kind is Any:
        return True
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(kind))
    if origin in _UNIONS:
        return any(_is_a(part, value) for part in get_args(kind))
    if dataclasses.is_dataclass(kind):
        return isinstance(value, (Mapping, kind))  # type: ignore[arg-type]
    if kind in (int, float) and isinstance(value, bool):
        return False  # true is not 1
    if kind is float:
        return isinstance(value, float) or (isinstance(value, int) and abs(value) <= sys.float_info.max)
    return isinstance(value, origin or kind)


def _fill(cls: Any, values: Mapping[str, Any], at: str, words: _Words) -> Any:
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    for name in values:
        if name not in fields:
            raise UserError(words.unknown(_join(at, name), str(name), fields))
    for name, field in fields.items():
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if required and name not in values:
            raise UserError(words.missing(_join(at, name)))
    hints = _hints(cls)
    return cls(**{name: _read(hints[name], value, _join(at, name), words) for name, value in values.items()})


@cache  # a report reads thousands of records
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


def _join(at: str, name: object) -> str:
    return f"{at}.{name}" if at else str(name)
