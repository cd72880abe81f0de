"""What a run is: hashes of all that defines it, so that work which is done is not done again.

Two runs with the same identity give the same result wherever their files lie and whatever looks on. It has four
parts, so that a difference can be named: the settings, the data, the backbone, and the code with its libraries.
"""

import ast
import hashlib
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from lightning import Callback

from peftlab.backbones.architecture import Architecture
from peftlab.options.roles import flatten, role_of
from peftlab.results.environment import versions
from peftlab.strategies.contract import Strategy
from peftlab.tasks.kind import TaskKind
from peftlab.training.settings import TrainingSettings

PACKAGE = Path(__file__).parent
_OURS = f"{PACKAGE.name}."
# Rooms that show, write, reach or measure, and compute nothing of a run's result.
_SILENT = {
    "results",
    "recording",
    "previous_run",
    "run_folder",
    "identity",
    "network",
    "errors",
    "files",
    "redaction",
    "command_line",
}
_SILENT |= {"deployment", "training.loggers", "heads.picture"}
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


def identify(
    settings: Mapping[str, Any],
    data: Mapping[str, str],
    backbone: Mapping[str, Any],
    strategy: Strategy,
    *others: TaskKind | Architecture | Callback,
) -> Identity:
    """Return the identity of a run.

    Args:
        settings: what `run_settings` gives.
        data: the SHA-256 of the content of each of the task's splits.
        backbone: what it is made of (`content_hashes`).
        strategy: counts by the code that it brings, and that its options name.
        others: what else a run finds by its name, the kind of task, the family of the backbone, a user's callbacks: by
            their code, a library's by its version.
    """
    classes = [type(strategy), *map(type, others), *_named_classes(strategy)]
    classes = [found for found in classes if found.__module__.partition(".")[0] not in _LIBRARIES]
    installed = versions()
    return Identity(
        settings=_digest(settings),
        data=_digest(dict(data)),
        backbone=_digest(dict(backbone)),
        code=_digest([code_version(classes), {name: installed.get(name) for name in _LIBRARIES}]),
    )


def run_settings(config: Mapping[str, Any], strategy: Strategy, training: TrainingSettings) -> dict[str, Any]:
    """Return by dotted name the settings that reach a number, which an interrupted run is resumed with.

    The recipe counts as what it gives, a strategy's path as the SHA-256 of what it holds. What the task's and the
    backbone's files hold stands in parts of the identity of their own.
    """
    options = {"name": strategy.name, **strategy.given_options()}
    resolved = flatten({**config, "training": asdict(training), "strategy": options})
    kept = {name: value for name, value in resolved.items() if role_of(name).run == "value"}
    return kept | _contents(strategy)


def _named_classes(strategy: Strategy) -> list[type]:
    """Return the classes that a strategy's options name and a registry finds: HiFi's score, say."""
    named = [(field.metadata.get("registry"), getattr(strategy, field.name)) for field in fields(strategy)]
    return [registry.get(name) for registry, name in named if registry]


def _contents(strategy: Strategy) -> dict[str, str | None]:
    """Return the SHA-256 of what each path among a strategy's options holds; None where there is nothing."""
    found = {}
    for field in fields(strategy):
        if fingerprint := field.metadata.get("path"):
            path = getattr(strategy, field.name)
            content = fingerprint(Path(path).expanduser()) if path else None
            found[f"strategy.{field.name}"] = f"sha256:{content}" if content else None
    return found


def code_version(classes: Iterable[type]) -> str:
    """Return the SHA-256 of the modules that a run with `classes` imports; comments and docstrings do not count.

    Args:
        classes: what the run is made of besides the frame: its strategy, say. Of a user's class all modules of its
            package count, with what they import from the laboratory.
    """
    modules = [cls.__module__ for cls in classes]
    ours = [name.removeprefix(_OURS) for name in modules if name.startswith(_OURS)]
    theirs = {name.partition(".")[0] for name in modules if not name.startswith(_OURS)}
    files = {where: _code(path) for package in sorted(theirs) for where, path in _files_of(package)}
    found = {where: code for where, (code, _) in files.items()}
    waiting = ["run", *ours, *(name for _, imported in files.values() for name in imported)]
    while waiting:
        name = waiting.pop()
        if name not in found and _counts(name):
            found[name], imported = _code(_file(name))
            waiting += imported
    return _digest(found)


def _counts(module: str) -> bool:
    return not {module, module.partition(".")[0]} & _SILENT and _file(module).is_file()


def _files_of(package: str) -> Iterator[tuple[str, Path]]:
    """Yield name and place of each source file of a user's top-level package or module, which has been imported."""
    module = sys.modules.get(package)
    file = getattr(module, "__file__", None)
    if file and not hasattr(module, "__path__"):
        yield f"{package}.py", Path(file)
    for folder in map(Path, getattr(module, "__path__", [])):
        yield from ((f"{package}/{path.relative_to(folder)}", path) for path in sorted(folder.rglob("*.py")))


@cache  # a process keeps what it has once imported
def _code(path: Path) -> tuple[str, list[str]]:
    """Return the hash of a file's code, and what may be modules of the laboratory that it imports."""
    tree = ast.parse(path.read_bytes())
    imported = list(_imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            del node.body[0]
    return _digest(ast.dump(tree)), imported


def _file(module: str) -> Path:
    return PACKAGE.joinpath(*module.split(".")).with_suffix(".py")


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield what may be modules of the package, named inside it: `a`, `a.b` of `from peftlab.a import b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.removeprefix(_OURS) for alias in node.names if alias.name.startswith(_OURS))
        elif isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith(_OURS):
            room = str(node.module).removeprefix(PACKAGE.name).removeprefix(".")
            yield from (name.removeprefix(".") for name in (room, *(f"{room}.{alias.name}" for alias in node.names)))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
