"""Which model a run loads, as `conf/backbone/*.yaml` says it; nothing here needs torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from peftlab.errors import UserError

Attention = Literal["auto", "sdpa", "eager"]


@dataclass(frozen=True)
class BackboneSpec:
    """Which model to load (`conf/backbone/*.yaml`): a folder, a Hub repository, a package, or random weights.

    `kernels`: whether attention, dropout and products are the laboratory's own where those are faster.
    """

    name: str
    hub: str | None = None
    path: str | None = None
    package: str | None = None
    sha256: str | None = None
    attention: Attention = "auto"
    kernels: bool = True
    random: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.attention not in get_args(Attention):
            raise UserError(f"backbone.attention={self.attention}: allowed are {', '.join(get_args(Attention))}")

    @property
    def folder(self) -> Path | None:
        """The user's folder of files, if one is given."""
        return Path(self.path).expanduser() if self.path else None
