"""Regular expressions among options: matched once in a process that can be ended, for some never end."""

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from peftlab.errors import UserError, shown

_SECONDS = 5
_MATCH = """
import json, re, sys
patterns, names = json.load(sys.stdin)
for pattern in patterns:
    for form in (pattern, rf"(.*\\.)?({pattern})$"):
        for name in names:
            re.fullmatch(form, name)
"""


def check_patterns(options: Mapping[str, Any], names: Iterable[str]) -> None:
    """Refuse options whose regular expressions do not end on the modules' names, or are none.

    Raises:
        UserError: naming the expressions.
    """
    patterns = list(dict.fromkeys(_patterns(options)))
    if not patterns:
        return
    given = json.dumps([patterns, list(names)])
    try:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MATCH],
            input=given,
            text=True,
            timeout=_SECONDS,
            check=True,
            capture_output=True,
        )
    except (subprocess.SubprocessError, OSError) as error:
        told = ", ".join(patterns)
        raise UserError(
            f"strategy.options: {shown(told, 80)} is no regular expression, or one that never ends"
        ) from error


def _patterns(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield what peft takes for regular expressions: names of modules given as one text, and keys of tables."""
    for name, value in options.items():
        if name.endswith("_modules") and isinstance(value, str) and value != "all-linear":
            yield value
        elif name.endswith("_pattern") and isinstance(value, Mapping):
            yield from map(str, value)
        elif name in ("layers_pattern", "modules_to_save") and value:
            yield from [value] if isinstance(value, str) else map(str, value)
