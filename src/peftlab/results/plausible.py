"""What a record may hold beyond its types: whoever reads it divides by its counts and prints its names."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from peftlab.errors import UserError, require, shown

LONGEST_NAME = 200
LARGEST = 1e100  # of a measured value: the sum of many squares is still a number
# Of a count, a size or a time; and the least, where it is not 0.
LARGEST_COUNT = float(2**63)
_LEAST = {"parameters.total": 1.0, "deployment.extra_parameters": -LARGEST_COUNT}
_GROUPS = ("task", "strategy", "backbone", "shots", "trainer", "logger", "training", "data", "checkpoint", "deployment")


def check_name(name: Any, where: str) -> None:
    """Check what a record is filed by, which stands in tables, on pages and in the names of folders.

    Raises:
        UserError: it is no text of one line and at most `LONGEST_NAME` characters.
    """
    valid = isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable()
    require(valid, f"{where}={shown(name, 60)}: allowed is a text of 1 to {LONGEST_NAME} printable characters")


def check_numbers(record: Any) -> None:
    """Refuse numbers that no run gives, wherever a record (a dataclass) holds one; tables would divide by them.

    Raises:
        UserError: naming the field.
    """
    for place, number in _numbers(record, ""):
        measured = place.startswith(("metric.", "curve."))
        least = -LARGEST if measured else _LEAST.get(place, 0.0)
        most = LARGEST if measured else LARGEST_COUNT
        if not least <= number <= most:
            raise UserError(f"{place} is {number:g}, must be from {least:g} to {most:g}")


def check_groups(config: Mapping[str, Any]) -> None:
    """Refuse groups of options that are none: whoever reads a record asks for options by their group.

    Raises:
        UserError: naming the group.
    """
    for name in _GROUPS:
        group = config.get(name, {})
        require(isinstance(group, Mapping), f"config.{name} is {shown(group, 60)}, must be an object")


def _numbers(part: Any, at: str) -> Iterator[tuple[str, float]]:
    """Yield the typed numbers of a record with their places; configuration and facts about data are any values."""
    if is_dataclass(part):
        for field in fields(part):
            if field.name not in ("config", "data", "selection"):
                yield from _numbers(getattr(part, field.name), f"{at}.{field.name}" if at else field.name)
    elif isinstance(part, Mapping):
        for name, value in part.items():
            yield from _numbers(value, f"{at}.{name}")
    elif isinstance(part, list):
        for value in part:
            yield from _numbers(value, at)
    elif isinstance(part, (int, float)):
        yield at, part
