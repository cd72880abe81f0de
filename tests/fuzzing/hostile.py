"""What no careful person would write: values, bytes, and things that stand where a file should."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

Draw = random.Random
Spoil = Callable[[bytes, Draw], bytes]

TEXTS = [
    "",
    "\x1b[2J\x1b[31mred",
    "two\nlines\r\nor three",
    "\0",
    "\ud800",
    "\u202eesrever\u2028",
    "x" * 2**20,
    "../../../etc/passwd",
    "${oc.env:HOME}",
    "%s{0}%(a)s",
    "nan",
    "é" * 300,
]
NUMBERS = [0, -1, 1, 2**31, 2**63, 10**400, -(10**18), 0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf")]
VALUES: list[Any] = [None, True, False, [], {}, [[]], {"": None}, [1, "a", None], {"a": {"b": [1]}}, *NUMBERS, *TEXTS]
CHUNKS = [b"\0", b"\x1b[2J", b"\n" * 50, b"\t" * 1000, b"\xff\xfe", b"\r", b"A" * 2**20, "\u202e".encode(), b'"', b"}"]


def cut(content: bytes, draw: Draw) -> bytes:
    return content[: draw.randrange(len(content) + 1)]


def flip(content: bytes, draw: Draw) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def insert(content: bytes, draw: Draw) -> bytes:
    place = draw.randrange(len(content) + 1)
    return content[:place] + draw.choice(CHUNKS) + content[place:]


def repeat(content: bytes, draw: Draw) -> bytes:
    first, last = sorted(draw.randrange(len(content) + 1) for _ in range(2))
    return content[:last] + content[first:]


def replace(content: bytes, draw: Draw) -> bytes:
    others = [
        b"",
        b"\0" * len(content),
        draw.randbytes(200),
        b"[" * 100_000,
        b"{}",
        b"[]",
        b"null",
        b"\n\n",
        b"\x80\x04.",
    ]
    return draw.choice(others)


BYTES: list[Spoil] = [cut, flip, insert, repeat, replace]


def json_value(content: bytes, draw: Draw) -> bytes:
    """Return JSON text of which one part, anywhere, is gone, renamed or something else."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        data = None
    places = _places(data)
    if not places:  # nothing is left of what it was
        return insert(content, draw)
    place, key = draw.choice(places)
    act = draw.randrange(4)
    if act == 0:
        del place[key]
    elif act == 1 and isinstance(place, dict):
        place[draw.choice(TEXTS)] = place.pop(key)
    elif act == 2:
        place[key] = json.loads("[" * 500 + "]" * 500)
    else:
        place[key] = draw.choice(VALUES)
    return json.dumps(data).encode()


def _places(data: Any) -> list[tuple[Any, Any]]:
    found, parts = [], [data]
    while parts:
        part = parts.pop()
        keys = list(part) if isinstance(part, dict) else list(range(len(part))) if isinstance(part, list) else []
        found += [(part, key) for key in keys]
        parts += [part[key] for key in keys]
    return found


def tsv_field(content: bytes, draw: Draw) -> bytes:
    """Return a table of which one field is something else, or one line has other fields."""
    lines = content.decode().split("\n")
    place = draw.randrange(len(lines))
    fields = lines[place].split("\t")
    fields[draw.randrange(len(fields))] = draw.choice(TEXTS)
    lines[place] = "\t".join(fields[: draw.randint(1, len(fields))] if draw.random() < 0.3 else fields)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def header_value(content: bytes, draw: Draw) -> bytes:
    """Return a safetensors file of whose header one part is something else."""
    size = int.from_bytes(content[:8], "little")
    header = json_value(content[8 : 8 + size], draw)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def stand_in(path: Path, draw: Draw) -> None:
    """Put something that is no file in the place of one."""
    path.unlink()
    act = draw.randrange(5)
    if act == 0:
        os.mkfifo(path)
    elif act == 1:
        path.mkdir()
    elif act == 2:
        path.symlink_to(path)
    elif act == 3:
        path.symlink_to("/dev/zero")
