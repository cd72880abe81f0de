"""What `conf/` may ask for by `${name:...}` besides Hydra's own."""

import re
import secrets
from collections.abc import Callable

from omegaconf import OmegaConf

from peftlab.command_line import program
from peftlab.names import shortened
from peftlab.options.roles import folder_digest
from peftlab.redaction import redact

_LONGEST = 60  # bytes of a name in a folder's name; a file system takes 255 in all


def register() -> None:
    """Let configurations use them; those of a command share the hex digits that no other command has."""
    unique = secrets.token_hex(4)
    resolvers: dict[str, Callable[..., object]] = {
        "folder_digest": folder_digest,
        "path_part": path_part,
        "program": lambda: program("train", "python train.py"),
        "unique": lambda: unique,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True)


def path_part(name: object) -> str:
    """Return a name as one part of a path, which leads nowhere else and tells no secret."""
    return re.sub(r"[^\w.+-]|^\.", "_", shortened(str(redact(str(name))), _LONGEST))
