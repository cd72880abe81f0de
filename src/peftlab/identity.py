"""What a run is: hashes of all that defines it, so that work which is done is not done again.

Two runs with the same identity give the same result wherever their files lie and whatever looks on. It has four
parts, so that a difference can be named: the settings, the data, the backbone, and the code with its libraries.
"""

import ast
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from peftlab.backbones.fingerprint import file_sha256
from peftlab.backbones.loading import content_hashes
from peftlab.heads.selection import FILE_NAME as SELECTION
from peftlab.plan import Parts
from peftlab.results.environment import versions
from peftlab.results.table import SHOWN
from peftlab.strategies.contract import Strategy

PACKAGE = Path(__file__).parent
PLUGINS = ("plugins",)  # their code counts, not how it is found
# Where things lie, what is shown, and how a command is carried out: none of it reaches a number.
INCIDENTAL = {
    "": ("recipe", "logger", "checkpoint", "force", "any_code", "search", "robustness", *PLUGINS),
    "task": ("hub", "files", "generator"),
    "backbone": ("hub", "path", "package", "sha256", "random"),
    "data": ("root", "cache_dir", "num_workers"),
    "trainer": SHOWN,
}
# Rooms that show, write or reach, and compute nothing.
_SILENT = {
    *("results", "previous_run", "identity", "network", "errors", "files", "redaction", "command_line"),
    "training.loggers",
}
# Of whatever else is installed a run's numbers do not know.
_LIBRARIES = ("torch", "transformers", "lightning", "peft", "adapters")


@dataclass(frozen=True)
class Identity:
    """The SHA-256 of each part that defines a run; `id` is that of all, 16 hex digits."""

    settings: str
    data: str
    backbone: str
    code: str

    @property
    def id(self) -> str:
        """Return the run's id."""
        return _digest(asdict(self))[:16]

    def differs_from(self, other: Mapping[str, str]) -> list[str]:
        """Return the names of the parts in which `other`, an identity as a record holds it, is another one."""
        return [field.name for field in fields(self) if getattr(self, field.name) != other.get(field.name)]


def identify(config: Mapping[str, Any], parts: Parts, data: Mapping[str, str]) -> Identity:
    """Return the identity of the run that a resolved configuration asks for.

    Args:
        config: the resolved configuration.
        parts: what `make_parts` makes of it.
        data: the SHA-256 of the content of each of the task's splits.

    Raises:
        UserError: the backbone's files are not there.
    """
    return Identity(
        settings=_digest(_settings(config, parts)),
        data=_digest(dict(data)),
        backbone=_digest(content_hashes(parts.spec)),
        code=_digest(
            [
                code_version(parts.strategy.name),
                kind_version(parts.kind.name),
                {name: versions().get(name) for name in _LIBRARIES},
            ]
        ),
    )


def code_version(strategy: str) -> str:
    """Return the SHA-256 of the modules that a run with `strategy` imports; comments and docstrings do not count."""
    return _code(["run", f"strategies.{strategy.replace('-', '_')}"])


def kind_version(kind: str) -> str:
    """Return the SHA-256 of the modules that a kind of task imports; they are found by name, so that no other does."""
    module = f"tasks.kinds.{kind.replace('-', '_')}"
    return _code([module] if _file(module).is_file() else [])


def _code(waiting: list[str]) -> str:
    found: dict[str, str] = {}
    # Found by themselves, so that nothing imports them.
    waiting += [f"backbones.architectures.{file.stem}" for file in PACKAGE.glob("backbones/architectures/[!_]*.py")]
    while waiting:
        name = waiting.pop()
        if name not in found and not {name, name.partition(".")[0]} & _SILENT:
            found[name], imported = _module(name)
            waiting += imported
    return _digest(found)


@cache
def _module(name: str) -> tuple[str, list[str]]:
    """Return the hash of a module's code, and the package's modules that it imports."""
    tree = ast.parse(_file(name).read_bytes())
    imported = [module for module in _imports(tree) if _file(module).is_file()]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            del node.body[0]
    return _digest(ast.dump(tree)), imported


def _file(module: str) -> Path:
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield what may be modules of the package, named inside it: `a`, `a.b` of `from peftlab.a import b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(f"{PACKAGE.name}."):
            room = str(node.module).removeprefix(PACKAGE.name).removeprefix(".")
            yield from (name.removeprefix(".") for name in (room, *(f"{room}.{alias.name}" for alias in node.names)))


def _settings(config: Mapping[str, Any], parts: Parts) -> dict[str, Any]:
    """Return the settings that reach a number: the recipe as what it gives, files as what they hold."""
    kept = {name: _kept(name, value) for name, value in config.items() if name not in INCIDENTAL[""]}
    return kept | {"training": asdict(parts.settings), "strategy": _options(parts.strategy)}


def _options(strategy: Strategy) -> dict[str, Any]:
    named = {field.name: getattr(strategy, field.name) for field in fields(strategy) if field.init}
    paths = named.keys() - strategy.given_options().keys()
    return {"name": strategy.name, **named, **{name: _content(named[name]) for name in paths}}


def _content(path: str | None) -> str | None:
    """Return the SHA-256 of a file, or of the selection in a run's folder; None where there is none."""
    place = Path(path or "").expanduser()
    file = place / SELECTION if place.is_dir() else place
    return file_sha256(file) if path and file.is_file() else None


def _kept(group: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    return {name: item for name, item in value.items() if name not in INCIDENTAL.get(group, ())}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
