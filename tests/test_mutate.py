"""The quick form of `mutate.py`: which mutants there are, and that real tests kill them in processes of their own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

mutants = pytest.importorskip("mutants", reason="mutmut is not installed").mutants

MODULE = '''"""A module."""

from torch import no_grad

LIMIT: int = 3


class Thing:
    @property
    @no_grad()
    def size(self) -> "int | None":
        """Return what it has."""
        return cast(int, self.a + 1)


def smaller(a, b=LIMIT):
    def inner():
        return not a < b

    return inner()
'''


def test_what_is_decorated_is_changed_and_what_the_type_checker_reads_is_not(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(MODULE)
    found = {(mutant.line, mutant.function, mutant.change) for mutant in mutants(tmp_path, "module.py")}
    inner = "return not a < b"
    assert found == {
        (5, None, "LIMIT: int = 3 -> LIMIT: int = None"),
        (5, None, "LIMIT: int = 3 -> LIMIT: int = 4"),
        (13, (11, 13), "return cast(int, self.a + 1) -> return cast(int, self.a - 1)"),
        (13, (11, 13), "return cast(int, self.a + 1) -> return cast(int, self.a + 2)"),
        (18, (16, 20), f"{inner} -> return a < b"),
        (18, (16, 20), f"{inner} -> return not a <= b"),
    }


def test_a_mutant_is_known_by_its_source(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(MODULE)
    keys = [mutant.key for mutant in mutants(tmp_path, "module.py")]
    assert len(set(keys)) == len(keys)
    assert keys == [mutant.key for mutant in mutants(tmp_path, "module.py")]
    (tmp_path / "module.py").write_text(MODULE + "\n# changed\n")
    assert not set(keys) & {mutant.key for mutant in mutants(tmp_path, "module.py")}


def test_real_mutants_are_judged_once_and_recorded(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    options = ["--rooms", "delta", "--tests", "tests/delta", "--sample", "4", "--seed", "1", "--records", str(records)]
    command = [sys.executable, str(ROOT / "tests" / "mutate.py"), *options]
    first = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert first.stdout.splitlines()[-1].startswith("all "), first.stdout + first.stderr
    outcomes = [json.loads(line) for line in records.read_text().splitlines()]
    assert len(outcomes) == 4
    assert {outcome["file"] for outcome in outcomes} == {"src/peftlab/delta/delta.py"}
    assert "killed" in {outcome["outcome"] for outcome in outcomes}
    again = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert "4 of " in first.stdout.splitlines()[0]
    assert again.stdout.splitlines()[0].endswith(" mutants, 0 to judge")
    assert again.stdout.splitlines()[1:] == first.stdout.splitlines()[1:]
    assert len(records.read_text().splitlines()) == 4
