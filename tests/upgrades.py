"""What of another library is used though it does not promise it: is it still there, and if not, what breaks."""

import importlib
from pathlib import Path
from typing import Any

SOURCE = Path(__file__).resolve().parents[1] / "src" / "peftlab"


def owner_of(path: str) -> Any:
    """Return what `path` names: a module (``package.module``), or a class of one (``package.module:Class``)."""
    module, _, name = path.partition(":")
    owner = importlib.import_module(module)
    return getattr(owner, name) if name else owner


def missing(library: str, owner: Any, names: str, dependant: str) -> list[str]:
    """Return a sentence for each name that `owner` (an object, or a mapping's keys) does not have."""
    has = owner.__contains__ if isinstance(owner, dict) else lambda name: hasattr(owner, name)
    return [f"{name} of {library} is gone: {dependant} depends on it" for name in names.split() if not has(name)]


def users_of(word: str) -> set[str]:
    """Return the files of the laboratory in which `word` stands."""
    files = SOURCE.rglob("*.py")
    return {str(path.relative_to(SOURCE)) for path in files if word in path.read_text(encoding="utf-8")}
