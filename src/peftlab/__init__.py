"""PEFT Lab: compare every way of tuning a transformer lightly, fairly and with statistics."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from peftlab.version import __version__

if TYPE_CHECKING:
    from peftlab.api.heads import select_heads as select_heads
    from peftlab.api.tuned import attach as attach
    from peftlab.api.tuned import reattach as reattach
    from peftlab.prediction.loaded import load as load

_OFFERED = {
    "attach": "peftlab.api.tuned",
    "load": "peftlab.prediction.loaded",
    "reattach": "peftlab.api.tuned",
    "select_heads": "peftlab.api.heads",
}
__all__ = ["__version__", "attach", "load", "reattach", "select_heads"]


def __getattr__(name: str) -> Any:
    """Import what the package offers when it is asked for: torch takes seconds."""
    if name not in _OFFERED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_OFFERED[name]), name)
