"""Which model a run loads, as `conf/backbone/*.yaml` says it; nothing here needs torch."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from peftlab.errors import UserError, require

Attention = Literal["auto", "sdpa", "eager"]
Kept = Literal["float32", "bfloat16"]
Bits = Literal["nf4", "fp4", "int8"]
SHORT = 8  # digits of a fingerprint that stand in a name
_LONGEST = 60  # characters of a folder's name that do


@dataclass(frozen=True)
class BackboneSpec:
    """Which model to load (`conf/backbone/*.yaml`): a folder, a Hub repository, packages, or random weights.

    A `path` goes before all else. `revision`: a branch, tag, pull request (refs/pr/N) or commit of the repository, null
    for its main branch. `parts`: packages that carry the pieces of an archive, in order. `kernels`: whether attention,
    dropout and products are the laboratory's own where those are faster. `dtype`: in which the matrices that nothing
    tunes are kept. `quantize`: in which codes of four or eight bits those of the layers are.
    """

    name: str | None
    hub: str | None = None
    revision: str | None = None
    path: str | None = None
    package: str | None = None
    parts: list[str] | None = None
    sha256: str | None = None
    attention: Attention = "auto"
    kernels: bool = True
    dtype: Kept = "float32"
    quantize: Bits | None = None
    random: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("attention", self.attention, get_args(Attention)),
            ("dtype", self.dtype, get_args(Kept)),
            ("quantize", self.quantize or "null", ("null", *get_args(Bits))),
        ):
            if value not in allowed:
                raise UserError(f"backbone.{name}={value}: allowed are {', '.join(allowed)}")
        require(self.name is not None or self.path is not None, "backbone=folder: backbone.path=FOLDER says which")

    @property
    def folder(self) -> Path | None:
        """The user's folder of files, if one is given."""
        return Path(self.path).expanduser() if self.path else None

    @property
    def drawn(self) -> Mapping[str, Any] | None:
        """The sizes of random weights; None where the weights are in files."""
        return None if self.path else self.random

    @property
    def title(self) -> str:
        """What messages call it before its weights are read."""
        return folder_name(asdict(self)) or str(self.name)

    def name_of(self, identity: str) -> str:
        """Return the backbone's name once the fingerprint of its weights is known."""
        own = folder_name(asdict(self))
        return f"{own}-{identity[:SHORT]}" if own else str(self.name)


def folder_name(backbone: Mapping[str, Any]) -> str | None:
    """Return the name of the folder whose weights go by it, from the fields of a `BackboneSpec`; None for all others.

    The name of a backbone that is elsewhere says nothing of a folder's weights, unless their SHA-256 is known.
    """
    path, name = backbone.get("path"), backbone.get("name")
    others = any(backbone.get(source) for source in ("hub", "package", "parts", "random"))
    if not path or (name is not None and not (others and not backbone.get("sha256"))):
        return None
    own = Path(str(path)).expanduser().resolve().name
    return re.sub(r"[^\w.+-]", "_", own)[:_LONGEST] or "folder"
