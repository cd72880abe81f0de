"""Keys and tokens are for servers alone: they are in no record, no log, no page and no file of a run."""

import json
import os
import re
from collections.abc import Sequence
from os.path import exists
from typing import Any
from urllib.parse import quote

_REDACTED = "[hidden]"
# How an option that holds one is named; `tokens` and `keys` are other things.
_NAME = re.compile(
    r"(?:.*[_.\-])?(?:(?:api|access|secret|private)_?key|token|secret)|(?:.*[_.\-])?[a-z]*passw(?:or)?d", re.IGNORECASE
)
# A variable of the environment may be named in more ways; PWD and OLDPWD are folders.
_VARIABLE = re.compile(r".*_(?:key|pat|pwd|passphrase|credentials?)", re.IGNORECASE)
_LONG_ENOUGH = 8  # a shorter value would stand in texts by chance
# The form of a Hugging Face token, and a name with a password before the @ of an address.
_FORMS = re.compile(r"\bhf_[A-Za-z0-9]{20,}|(?<=://)[^/@\s]+:[^/@\s]+(?=@)")


def is_secret_name(name: str) -> bool:
    """Return whether an option or variable of this name holds a key, a token or a password."""
    return _NAME.fullmatch(name) is not None


def holds_secret(text: str) -> bool:
    """Return whether `text` holds a secret of the environment, or what has the form of one."""
    return bool(redact(text) != text)


def redact(value: Any) -> Any:
    """Return JSON data with each secret in it, wherever it stands, replaced by ``[hidden]``."""
    return _redact(value, _of_environment())


def _redact(value: Any, secrets: Sequence[str]) -> Any:
    if isinstance(value, dict):
        return {_redact(name, secrets): _redact_option(str(name), item, secrets) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redact(item, secrets) for item in value]
    return _redact_text(value, secrets) if isinstance(value, str) else value


def _redact_option(name: str, value: Any, secrets: Sequence[str]) -> Any:
    is_secret = is_secret_name(name) and isinstance(value, str) and value
    return _REDACTED if is_secret else _redact(value, secrets)


def _redact_text(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, _REDACTED)
    name, equals, value = text.partition("=")  # an argument of a command line
    if equals and value and is_secret_name(name.lstrip("+-")):
        return f"{name}={_REDACTED}"
    return _FORMS.sub(_REDACTED, text)


def _of_environment() -> list[str]:
    """Return the secrets among the variables, as they are and as JSON and addresses spell them."""
    found = {value for name, value in os.environ.items() if _is_secret(name, value)}
    spelt = {spelling for value in found for spelling in (value, json.dumps(value)[1:-1], quote(value, safe=""))}
    return sorted(spelt, key=len, reverse=True)


def _is_secret(name: str, value: str) -> bool:
    if len(value) < _LONG_ENOUGH:
        return False
    # A key may also be a file, whose place is none.
    return is_secret_name(name) or bool(_VARIABLE.fullmatch(name) and not (value.startswith("/") and exists(value)))
