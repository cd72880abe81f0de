"""Keys and tokens are for servers alone: they are in no record, no log, no page and no file of a run."""

import json
import netrc
import os
import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from os.path import exists, expanduser
from pathlib import Path
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
    """Return whether `text` holds a secret of this user's, or what has the form of one."""
    return bool(redact(text) != text)


def redact(value: Any) -> Any:
    """Return JSON data with each secret in it, wherever it stands, replaced by ``[hidden]``."""
    return _redact(value, _known())


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


def _known() -> list[str]:
    """Return the secrets of environment and files, as they are and as JSON and addresses spell them."""
    found = {value for name, value in os.environ.items() if _is_secret(name, value)} | _of_files()
    spelt = {spelling for value in found for spelling in (value, json.dumps(value)[1:-1], quote(value, safe=""))}
    return sorted(spelt, key=len, reverse=True)


def _of_files() -> set[str]:
    """Return the secrets that `wandb login` and `hf auth login` leave where their libraries look for them."""
    given = os.environ.get
    cache = given("HF_HOME") or f"{given('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    token = Path(expanduser(given("HF_TOKEN_PATH") or f"{cache}/token"))
    netrcs = [Path(expanduser(name)) for name in (given("NETRC") or "~/.netrc", "~/_netrc")]
    found = {value for path in netrcs for value in _secrets_in(path, _passwords)}
    found |= {value for path in (token, token.with_name("stored_tokens")) for value in _secrets_in(path, _tokens)}
    return {value for value in found if len(value) >= _LONG_ENOUGH}


def _secrets_in(path: Path, read: Callable[[Path], Iterable[str]]) -> frozenset[str]:
    try:
        state = path.stat()
        return _read_once(path, read, state.st_mtime_ns, state.st_size)
    except OSError:
        return frozenset()


@lru_cache(maxsize=16)
def _read_once(path: Path, read: Callable[[Path], Iterable[str]], *_state: int) -> frozenset[str]:
    return frozenset(read(path)) if path.is_file() else frozenset()


def _passwords(path: Path) -> list[str]:
    try:
        return [password for _, _, password in netrc.netrc(path).hosts.values() if password]
    except (netrc.NetrcParseError, ValueError):
        return []  # nor is it of any use to a library


def _tokens(path: Path) -> list[str]:
    """Return the token that a file is, or the tokens of `NAME = TOKEN` lines."""
    lines = path.read_text(encoding="utf-8", errors="ignore").splitlines()
    return [line.rpartition("=")[2].strip() for line in lines if not line.startswith("[")]


def _is_secret(name: str, value: str) -> bool:
    if len(value) < _LONG_ENOUGH:
        return False
    # A key may also be a file, whose place is none.
    return is_secret_name(name) or bool(_VARIABLE.fullmatch(name) and not (value.startswith("/") and exists(value)))
