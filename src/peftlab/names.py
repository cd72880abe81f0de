"""Names that something else takes only up to a length: file systems, dashboards."""

import hashlib

_DIGITS = 8


def shortened(name: str, most: int) -> str:
    """Return a name of at most `most` bytes: as it is, or its beginning and 8 hex digits that stand for all of it."""
    content = name.encode(errors="replace")
    if len(content) <= most:
        return name
    digest = hashlib.sha256(content).hexdigest()[:_DIGITS]
    return f"{content[: most - _DIGITS - 1].decode(errors='ignore')}-{digest}"
