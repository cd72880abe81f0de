"""PEFT Lab: compare every way of tuning a transformer lightly, fairly and with statistics."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peftlab.prediction.loaded import load as load

__version__ = "0.2.0"
__all__ = ["__version__", "load"]


def __getattr__(name: str) -> Any:
    """Import what the package offers when it is asked for: torch takes seconds."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from peftlab.prediction.loaded import load

    return load
