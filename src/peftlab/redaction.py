"""Keys and tokens are for servers alone: they are in no record, no log, no page and no file of a run."""

import os
import re
from typing import Any

_REDACTED = "[hidden]"
# How a variable or an option that holds one is named; `tokens` and `keys` are other things.
_NAME = re.compile(r"(?:.*[_.\-])?(?:(?:api|access)_?key|token|secret|passw(?:or)?d)", re.IGNORECASE)
_LONG_ENOUGH = 8  # a shorter value would stand in texts by chance
# The form of a Hugging Face token, and a name with a password before the @ of an address.
_FORMS = re.compile(r"\bhf_[A-Za-z0-9]{20,}|(?<=://)[^/@\s]+:[^/@\s]+(?=@)")


def is_secret_name(name: str) -> bool:
    """Return whether an option or variable of this name holds a key, a token or a password."""
    return _NAME.fullmatch(name) is not None


def holds_secret(text: str) -> bool:
    """Return whether `text` holds a secret of the environment, or what has the form of one."""
    return redact(text) != text


def redact(value: Any) -> Any:
    """Return JSON data with each secret in it replaced by ``[hidden]``."""
    if isinstance(value, dict):
        return {name: _redact_option(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [redact(item) for item in value]
    return _redact_text(value) if isinstance(value, str) else value


def _redact_option(name: str, value: Any) -> Any:
    return _REDACTED if is_secret_name(name) and isinstance(value, str) and value else redact(value)


def _redact_text(text: str) -> str:
    for secret in _of_environment():
        text = text.replace(secret, _REDACTED)
    name, equals, value = text.partition("=")  # an argument of a command line
    if equals and value and is_secret_name(name.lstrip("+-")):
        return f"{name}={_REDACTED}"
    return _FORMS.sub(_REDACTED, text)


def _of_environment() -> list[str]:
    found = {value for name, value in os.environ.items() if is_secret_name(name) and len(value) >= _LONG_ENOUGH}
    return sorted(found, key=len, reverse=True)
