"""Finds classes by themselves: those of a room of the house, and those of a user's own packages.

A user's package is found by an entry point of the group `peftlab.plugins`, which names a module, or because a
configuration lists it: `plugins: [my_package]`. All that it and its modules define counts, and its folder `conf`, if it
has one, is looked into like the laboratory's.
"""

import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Generic, TypeVar

from peftlab.errors import MissingPackageError, UserError, nearest

T = TypeVar("T")
GROUP = "peftlab.plugins"

_loaded: dict[str, None] = {}  # names of a user's modules, in the order in which they came


def load_plugins(names: Iterable[str]) -> None:
    """Import a user's packages, from the folder that the command was typed in too; their classes are then found.

    Raises:
        UserError: there is no such package, or it fails to load.
    """
    for name in names:
        _load(name)


def plugin_modules() -> list[ModuleType]:
    """Return the user's modules: those of entry points, and those that were loaded by name."""
    for name in _entry_points():
        _load(name)
    return [sys.modules[name] for name in _loaded]


def plugin_folders(names: Iterable[str]) -> list[Path]:
    """Return the folders `conf` of a user's packages, those of entry points among them; nothing is imported.

    Raises:
        UserError: there is no such package.
    """
    found = [place / "conf" for name in dict.fromkeys([*_entry_points(), *names]) for place in _places(name)]
    return [folder for folder in found if folder.is_dir()]


class Registry(Generic[T]):
    """The classes of one kind, by the name that each has as its attribute `name`.

    Args:
        base: what they derive from; a class without a `name` of its own is nobody's choice.
        room: the package that holds the laboratory's own, one file each, or the module that holds all.
        kind: what a message calls one of them.
        but: names of the room's modules that hold none.
    """

    def __init__(self, base: type[T], room: str, kind: str, but: Iterable[str] = ()) -> None:
        self._base, self._room, self._kind, self._but = base, room, kind, frozenset(but)
        self._own_classes: dict[str, type[T]] = {}  # those of files that were imported: these stay as they are

    def names(self) -> list[str]:
        """Return all names, those of the laboratory without importing their files."""
        theirs = {name for module in plugin_modules() for name in self._in(module)}
        return sorted({*self._own_names(), *theirs})

    def get(self, name: str) -> type[T]:
        """Return the class of this name.

        Raises:
            UserError: there is none; or the laboratory and a package of the user's have one each.
        """
        if name in self._own_names():
            self._refuse_a_second(name)
            return self._own(name)
        for module in plugin_modules():
            if name in (found := self._in(module)):
                return found[name]
        names = self.names()
        raise UserError(
            f"{self._kind}={name}: no such {self._kind}{nearest(name, names)}; there are {', '.join(names)}"
        )

    def classes(self) -> list[type[T]]:
        """Return all classes, by name, those of the laboratory and those of the user."""
        return [self.get(name) for name in self.names()]

    def _own_names(self) -> Sequence[str]:
        room = importlib.import_module(self._room)
        if hasattr(room, "__path__"):
            return _names_in(room.__path__[0], self._but)
        return sorted(self._in(room))

    def _refuse_a_second(self, name: str) -> None:
        """Refuse a user's class of a name that the laboratory's has: it would never be taken."""
        for module in _loaded:
            if name in self._in(sys.modules[module]):
                raise UserError(f"{self._kind}={name}: {module} has one of a name that the laboratory's has; rename it")

    def _own(self, name: str) -> type[T]:
        if name not in self._own_classes:
            room = importlib.import_module(self._room)
            whole = not hasattr(room, "__path__")
            module = room if whole else importlib.import_module(f"{self._room}.{name.replace('-', '_')}")
            self._own_classes[name] = self._in(module)[name]
        return self._own_classes[name]

    def _in(self, module: ModuleType) -> dict[str, type[T]]:
        """Return the classes that a module, or a module below it, defines itself."""
        members = (value for _, value in inspect.getmembers(module, inspect.isclass))
        own = (cls for cls in members if cls.__module__ == module.__name__ and issubclass(cls, self._base))
        return {str(vars(cls)["name"]): cls for cls in own if "name" in vars(cls)}


@cache
def _names_in(folder: str, but: frozenset[str]) -> Sequence[str]:
    """Return the names of a room's classes: asked for with each backbone, and the same as long as a process runs."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules([folder]) if module.name not in but)


@cache
def _entry_points() -> tuple[str, ...]:
    return tuple(sorted(entry.value for entry in entry_points(group=GROUP)))


def _load(name: str) -> None:
    if name in _loaded:
        return
    _places(name)
    try:
        with from_here():
            module = importlib.import_module(name)
            below = list(_below(module))
    except ModuleNotFoundError as error:
        if error.name in (name, name.partition(".")[0]):
            raise _missing(name) from error
        raise MissingPackageError(f"plugins={name}: it needs {error.name}, which is not installed") from error
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"plugins={name}: it cannot be imported ({reason})") from error
    for found in (module, *below):
        _loaded[found.__name__] = None


def _places(name: str) -> list[Path]:
    """Return the folders of a package, none for a single module; UserError where there is neither."""
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name):
        raise UserError(f"plugins={name}: allowed are names of packages or modules, as in plugins=[my_package]")
    top, *below = name.split(".")
    with from_here():
        spec = importlib.util.find_spec(top)
    if spec is None:
        raise _missing(name)
    return [Path(place, *below) for place in spec.submodule_search_locations or []]


def _missing(name: str) -> UserError:
    return UserError(f"plugins={name}: no such package, neither installed nor in the folder you are in")


@contextmanager
def from_here() -> Iterator[None]:
    """Let what is imported inside lie in the folder that the command was typed in, too."""
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _below(module: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(getattr(module, "__path__", []), f"{module.__name__}."):
        yield importlib.import_module(found.name)
