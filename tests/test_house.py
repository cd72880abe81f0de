"""The house: each room imports only rooms below it, and nobody asks which strategy there is."""

import ast
from collections.abc import Iterator
from pathlib import Path

import networkx
import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "peftlab"

# From the top down; what stands on one line may import each other.
FLOORS = [
    ["notebook", "console", "__main__", "power"],
    ["cli", "merge", "report", "submit"],
    ["launchers"],
    ["submission"],
    ["search", "landscape", "job", "check", "prediction", "api", "export"],
    ["peft"],
    ["job_lines", "apart", "dry_run"],
    ["run", "arguments", "hydra_errors", "resume", "search_path", "resolvers"],
    ["previous_run", "run_folder", "recording", "kept_predictions", "job_files", "pool"],
    ["deployment"],
    ["plan"],
    ["run_config"],
    ["identity"],
    ["training"],
    ["strategies"],
    ["heads", "masks"],
    ["layers", "delta"],
    ["data"],
    ["tasks"],
    ["backbones", "inputs", "results"],
    ["options", "registry", "output_layer", "network", "cache", "kernels", "outcome", "hydra_internals"],
    ["terminal"],
    ["tensor_files"],
    ["files", "redaction", "command_line", "signals", "streams"],
    ["locks"],
    ["transformers_internals", "filelock_internals"],
    ["errors", "imports", "names", "version"],
]
HEIGHT = {room: -level for level, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path.name != "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "peftlab":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("peftlab."):
            yield (node.module or "").split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1] for alias in node.names if alias.name.startswith("peftlab."))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_downwards(path: Path) -> None:
    own = room_of(path)
    upwards = {room for room in imported_rooms(path) if room != own and HEIGHT[room] > HEIGHT[own]}
    assert upwards == set()


def imported_files(path: Path) -> Iterator[str]:
    """Yield the modules of the package that a file imports, for the type checker alone too."""
    modules = {name_of(file) for file in FILES}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and f"{node.module}.".startswith("peftlab."):
            yield from modules & {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}


def name_of(path: Path) -> str:
    return ".".join(["peftlab", *path.relative_to(SOURCE).with_suffix("").parts])


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = networkx.DiGraph((name_of(path), other) for path in FILES for other in imported_files(path))
    assert list(networkx.simple_cycles(graph)) == []


@pytest.mark.parametrize("own", ["results", "report"])
def test_records_are_read_without_models_or_strategies(own: str) -> None:
    rooms = {room for path in FILES if room_of(path) == own for room in imported_rooms(path)}
    assert rooms <= {
        own,
        "results",
        "options",
        "errors",
        "files",
        "redaction",
        "network",
        "registry",
        "command_line",
        "version",
    }


@pytest.mark.parametrize("room", ["training", "data", "delta", "results", "report", "run", "cli"])
def test_no_strategy_is_named_outside_its_own_file(room: str) -> None:
    names = {"hifi", "bitfit", "HiFi", "BitFit"}
    for path in (path for path in FILES if room_of(path) == room):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}
        assert not names & {value for value in constants if isinstance(value, str)}, path


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_file_is_over_four_hundred_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
