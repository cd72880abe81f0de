"""Mutants of a module: its source with one small change each, made by the operators of mutmut.

mutmut's own runner leaves out what is decorated otherwise than as a static or class method, and so the gradients of
our autograd functions, every context manager, property and `no_grad` function: the walk here takes all of them.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import mutation_operators

# What the type checker alone reads, what is done once at import, and docstrings.
NOT_MUTATED = (cst.Annotation, cst.Decorator, cst.Import, cst.ImportFrom)


@dataclass(frozen=True)
class Mutant:
    """One change of one module.

    Args:
        file: the module, relative to the repository.
        line: where the change is.
        function: first and last line of the function or method around it, the outermost; None: it is in none.
        source: the module's whole text with the change.
        original: its text without.
    """

    file: str
    line: int
    function: tuple[int, int] | None
    source: str
    original: str

    @property
    def key(self) -> str:
        """What the mutant is known by in the records: a changed source gives new mutants, a changed test does not."""
        return hashlib.sha256(f"{self.file}\n{self.source}".encode()).hexdigest()[:16]

    @property
    def change(self) -> str:
        """Which lines became which: a mutant changes one statement, mostly on one line."""
        old, new = self.original.splitlines(), self.source.splitlines()
        parts = [part for part in SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if part[0] != "equal"]
        changed = old[parts[0][1] : parts[-1][2]], new[parts[0][3] : parts[-1][4]]
        return " -> ".join(" ".join(line.strip() for line in lines) for lines in changed)


def mutants(root: Path, file: str) -> list[Mutant]:
    """Return every mutant of `file`, a path below `root`, that is Python and not the same text as another."""
    text = (root / file).read_text(encoding="utf-8")
    wrapper = MetadataWrapper(cst.parse_module(text), unsafe_skip_copy=True)
    walk = _Walk()
    wrapper.visit(walk)
    found: dict[str, Mutant] = {}
    for old, new, line, function in walk.found:
        source = cst.ensure_type(wrapper.module.deep_replace(old, new), cst.Module).code
        if source != text and _compiles(source):
            found.setdefault(source, Mutant(file, line, function, source, text))
    return list(found.values())


class _Walk(cst.CSTVisitor):
    """Collects (node, its replacement, line, lines of the function around it)."""

    METADATA_DEPENDENCIES = (PositionProvider,)

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[cst.CSTNode, cst.CSTNode, int, tuple[int, int] | None]] = []
        self._functions: list[tuple[int, int]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        if isinstance(node, NOT_MUTATED):
            return False
        place = self.get_metadata(PositionProvider, node, None)
        if isinstance(node, cst.FunctionDef) and place:
            self._functions.append((place.start.line, place.end.line))
        for new in _replacements(node):
            function = self._functions[0] if self._functions else None
            self.found.append((node, new, place.start.line if place else 0, function))
        return True

    def on_leave(self, original_node: cst.CSTNode) -> None:
        if isinstance(original_node, cst.FunctionDef):
            self._functions.pop()


def _replacements(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    # `cast` is for the type checker too; what it is given is mutated by itself.
    if isinstance(node, cst.Call) and isinstance(node.func, cst.Name) and node.func.value == "cast":
        return
    for kind, operator in mutation_operators:
        if isinstance(node, kind):
            yield from operator(node)


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec", dont_inherit=True)
    except SyntaxError:
        return False
    return True
