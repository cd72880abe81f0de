"""`python tests/mutate.py [--rooms ...] [--tests ...] [--sample N] [--seed S] [--records FILE] [--survivors]`.

Changes the rooms' source in one place at a time, and asks the tests whether they notice. torch and all else that is not
ours is imported once; each mutant then gets a forked process, which imports our modules anew with the changed one among
them, and runs the tests that reach the changed function until one fails: those of its own rooms, the quickest first,
then as many of the strategies' as take ten seconds. A mutant is killed when a test fails, when it takes far longer
than the tests did, or when it dies.

Prints a line a survivor and the count of each room; ends with code 1 below 85 % killed. With --records, each outcome is
added to FILE (JSON lines) as it comes, and those that it holds already are not asked for again; --survivors asks again
for those that survived.
"""

import argparse
import contextlib
import gc
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from itertools import accumulate
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import coverage
import hypothesis
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests"), str(ROOT)]

from mutants import Mutant, mutants  # noqa: E402

ROOMS = ("heads", "layers", "delta")
TESTS = ("tests/heads", "tests/layers", "tests/delta", "tests/strategies")
# Without pytest's own last look for rubbish: with torch in memory it takes longer than the tests.
QUIET = ["-q", "--tb=no", *(f"-pno:{name}" for name in ("cacheprovider", "unraisableexception", "threadexception"))]
ENOUGH = 0.85
# Seconds of tests outside the rooms' own.
OTHERS = 10.0
# A mutant may take this many times the processor time of the tests it is given, and so much besides.
PATIENCE, GRACE = 5.0, 20.0
MEMORY = 4 << 30


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: `killed`, `timeout`, `died`, `survived` or `unreached` by any test."""

    key: str
    file: str
    line: int
    change: str
    outcome: str
    seconds: float

    @property
    def alive(self) -> bool:
        return self.outcome in ("survived", "unreached")


@dataclass(frozen=True)
class Reached:
    """Which tests reach which lines, and how long each takes."""

    lines: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]

    def tests(self, mutant: Mutant) -> tuple[list[str], list[str]]:
        """Return the own tests that reach the function around a mutant (its module, if it is in none), and others.

        The quickest come first; of the others as many as `OTHERS` seconds allow.
        """
        first, last = mutant.function or (0, sys.maxsize)
        lines = self.lines.get(mutant.file, {})
        found = {test for line, tests in lines.items() if first <= line <= last for test in tests if test}
        quickest = sorted(found, key=lambda test: (self.seconds.get(test, 0.0), test))
        own = [test for test in quickest if test.split("/")[1] in ROOMS]
        others = [test for test in quickest if test not in own]
        spent = accumulate(self.seconds.get(test, 0.0) for test in others)
        return own, [test for test, so_far in zip(others, spent, strict=True) if so_far <= OTHERS]


def survey(tests: list[str], rooms: list[str], folder: Path) -> Reached:
    """Run the tests once, in a process of their own, and note what each reaches."""
    target = folder / "reached.json"

    def work() -> int:
        include = [f"{ROOT}/src/peftlab/{room}/*" for room in rooms]
        cover = coverage.Coverage(data_file=None, config_file=False, include=include)
        plugin = _Contexts(cover)
        cover.start()
        code = pytest.main([*QUIET, *tests], plugins=[plugin])
        cover.stop()
        data = cover.get_data()
        lines = {str(Path(f).relative_to(ROOT)): data.contexts_by_lineno(f) for f in data.measured_files()}
        target.write_text(json.dumps({"lines": lines, "seconds": plugin.seconds}))
        return int(code)

    code = _wait(_fork(work), 3600.0)
    if code != 0:
        sys.exit(f"the tests do not pass without a mutant (code {code})")
    found = json.loads(target.read_text())
    lines = {file: {int(line): of for line, of in by_line.items()} for file, by_line in found["lines"].items()}
    return Reached(lines, found["seconds"])


class _Contexts:
    """Tells coverage which test is running."""

    def __init__(self, cover: coverage.Coverage) -> None:
        self.seconds: dict[str, float] = {}
        self._cover = cover

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        self._cover.switch_context(item.nodeid)
        started = time.process_time()
        yield
        self.seconds[item.nodeid] = time.process_time() - started
        self._cover.switch_context("")


def judge(mutant: Mutant, reached: Reached, folder: Path) -> Outcome:
    """Run the tests that reach `mutant` with it in place, in a process of their own."""
    rounds = [tests for tests in reached.tests(mutant) if tests]
    usual = sum(reached.seconds.get(test, 0.0) for tests in rounds for test in tests)
    started = time.perf_counter()
    outcome = "unreached"
    if rounds:
        process = _fork(lambda: _tested(mutant, rounds, folder), PATIENCE * usual + GRACE)
        outcome = _named(_wait(process, 10 * (PATIENCE * usual + GRACE)))
    seconds = round(time.perf_counter() - started, 3)
    return Outcome(mutant.key, mutant.file, mutant.line, mutant.change, outcome, seconds)


def _tested(mutant: Mutant, rounds: list[list[str]], folder: Path) -> int:
    sys.meta_path.insert(0, _Changed(mutant))
    for tests in rounds:
        files = sorted({test.split("::")[0] for test in tests})
        code = pytest.main([*QUIET, "-x", f"--basetemp={folder}/tests", *files], plugins=[_Chosen(tests)])
        if code:
            return int(code)
    return 0


class _Chosen:
    """Keeps these tests alone, in this order."""

    def __init__(self, tests: list[str]) -> None:
        self._order = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((item for item in items if item.nodeid in self._order), key=lambda i: self._order[i.nodeid])


def _named(code: int) -> str:
    if code in (-signal.SIGXCPU, -signal.SIGALRM):
        return "timeout"
    return "died" if code < 0 else "killed" if code else "survived"


class _Changed(MetaPathFinder):
    """Finds a mutant in the place of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self._path = str(ROOT / mutant.file)
        self._name = mutant.file.removeprefix("src/").removesuffix(".py").replace("/", ".")
        self._source = mutant.source

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        return spec_from_file_location(fullname, self._path, loader=_Loader(fullname, self._path, self._source))


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec", dont_inherit=True)


def _fork(work: Callable[[], int], cpu: float | None = None) -> int:
    """Start `work` in a process, and a group, of its own; its result is the exit code."""
    process = os.fork()
    if process:
        return process
    code = 99
    try:
        os.setsid()
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        if cpu is not None:
            used = int(time.process_time() + cpu) + 1
            resource.setrlimit(resource.RLIMIT_CPU, (used, used + 5))
            size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
        code = work()
    finally:
        os._exit(code)


def _wait(process: int, seconds: float) -> int:
    """Return the exit code of a process, negative for the signal that ended it; end it and its own after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.killpg(process, signal.SIGKILL)
    os.waitpid(process, 0)
    return -signal.SIGALRM


def prepare(tests: list[str], folder: Path) -> None:
    """Import everything that tests and rooms import, then forget what is ours: children import that anew."""
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(folder)
    torch.set_num_threads(1)
    hypothesis.settings.register_profile("mutants", database=None, derandomize=True, deadline=None, max_examples=25)
    hypothesis.settings.load_profile("mutants")
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["--collect-only", *QUIET, *tests])
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None) or ""
        if name.split(".")[0] == "peftlab" or (file.startswith(f"{ROOT}/tests") and name != "__main__"):
            del sys.modules[name]
    # What is left stays: no child looks through all of torch for rubbish.
    gc.collect()
    gc.freeze()


def main(arguments: argparse.Namespace) -> int:
    """Judge the mutants; return 1 when too many survive."""
    os.chdir(ROOT)
    files = [path for room in arguments.rooms for path in sorted((ROOT / "src/peftlab" / room).glob("*.py"))]
    chosen = [mutant for path in files for mutant in mutants(ROOT, str(path.relative_to(ROOT)))]
    total = len(chosen)
    # In a drawn order, so that what is judged so far is a fair sample of the whole.
    chosen = random.Random(arguments.seed).sample(chosen, min(arguments.sample or total, total))
    known = _read(arguments.records)
    asked = [m for m in chosen if m.key not in known or (arguments.survivors and known[m.key].alive)]
    print(f"{len(chosen)} of {total} mutants, {len(asked)} to judge", flush=True)
    if asked:
        with tempfile.TemporaryDirectory() as temporary:
            prepare(arguments.tests, Path(temporary))
            reached = survey(arguments.tests, arguments.rooms, Path(temporary))
            for mutant in asked:
                known[mutant.key] = judge(mutant, reached, Path(temporary))
                _add(arguments.records, known[mutant.key])
    return _count([known[mutant.key] for mutant in chosen])


def _count(outcomes: list[Outcome]) -> int:
    for outcome in sorted(outcomes, key=lambda outcome: (outcome.file, outcome.line)):
        if outcome.alive:
            print(f"{outcome.outcome} {outcome.file}:{outcome.line}: {outcome.change}")
    for room in (*ROOMS, ""):
        of = [outcome for outcome in outcomes if f"/{room}" in outcome.file]
        dead = sum(not outcome.alive for outcome in of)
        if of:
            print(f"{room or 'all':7s} {dead}/{len(of)} killed ({dead / len(of):.1%})")
    return int(dead < ENOUGH * len(of))


def _read(records: Path | None) -> dict[str, Outcome]:
    if records is None or not records.exists():
        return {}
    outcomes = (Outcome(**json.loads(line)) for line in records.read_text(encoding="utf-8").splitlines())
    return {outcome.key: outcome for outcome in outcomes}


def _add(records: Path | None, outcome: Outcome) -> None:
    if records is not None:
        with records.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Mutation testing of the numeric rooms.")
    parser.add_argument("--rooms", nargs="+", choices=ROOMS, default=list(ROOMS))
    parser.add_argument("--tests", nargs="+", default=list(TESTS))
    parser.add_argument("--sample", type=int, help="judge so many of the mutants, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--records", type=Path, help="JSON lines of outcomes, added to and not asked for again")
    parser.add_argument("--survivors", action="store_true", help="judge recorded survivors again")
    sys.exit(main(parser.parse_args()))
