"""The study's page says what its records say: tables are computed anew from the archive that lies beside it."""

import re
import tarfile
from pathlib import Path

import pytest

from conftest import ROOT
from peftlab.report.comparisons import compare_all
from peftlab.report.study import read
from peftlab.results.aggregate import Cell
from peftlab.results.found import find_records
from peftlab.results.table import summarise

PAGE = (ROOT / "docs" / "results" / "study.md").read_text(encoding="utf-8")
TASKS = ("mrpc", "sst2", "cola", "rte")
NAMES = {
    "tiny attention": "tiny-attention",
    "linear probe": "classifier",
    "full fine-tuning": "full",
    "mix-and-match": "mam",
    "adapter (Houlsby)": "adapter",
    "(IA)^3": "ia3",
    "Child-Tuning D": "child-tuning",
    "HiFi, `teleport=richness`": "hifi teleport=richness",
    "HiFi, `teleport=uniform`": "hifi teleport=uniform",
}


def rows_below(heading: str) -> dict[str, list[str]]:
    """Return the rows of the first table below a line of the page that begins so, by the method that each names."""
    table = re.split(r"\n\n", PAGE[PAGE.index(heading) :])
    lines = next(part for part in table if part.startswith("|")).splitlines()[2:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {NAMES.get(name, name.lower()): cells for name, *cells in rows}


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    with tarfile.open(ROOT / "docs" / "results" / "study" / "records.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "records"


@pytest.fixture(scope="module")
def few(records: Path) -> list[Cell]:
    return summarise(find_records(records / "table2-few"))


def as_the_page_has_it(cell: Cell | None) -> str:
    if cell is None:
        return "not run"
    if cell.std is None:
        return f"{cell.mean:.1f} ({len(cell.scores)} seed)"
    collapsed = f" ({len(cell.collapsed)} c)" if cell.collapsed else ""
    return f"{cell.mean:.1f} ± {cell.std:.1f}{collapsed}"


def test_the_archive_gives_every_record_back(records: Path) -> None:
    assert len(find_records(records)) == 1284


def test_the_scores_with_few_shots_are_those_of_the_records(few: list[Cell]) -> None:
    found = {(cell.method.label, cell.setting.task): cell for cell in few}
    rows = rows_below("### 16 shots")
    assert set(rows) == {method for method, _ in found}
    for method, (*scores, mean) in rows.items():
        cells = [found.get((method, task)) for task in TASKS]
        assert scores == [as_the_page_has_it(cell) for cell in cells], method
        known = [cell.mean for cell in cells if cell is not None and cell.mean is not None and cell.std is not None]
        assert mean == (f"{sum(known) / 4:.1f}" if len(known) == 4 else ""), method


def against(folder: Path, reference: str) -> dict[str, tuple[str, ...]]:
    """Return what the page says of each comparison over tasks with a reference that has pairs on all of them.

    The difference of the reference over the other, its interval, p, what could have been shown, and the pairs.
    """
    (family,) = [family for family in compare_all(read([folder]), reference) if family.over_tasks]
    most = max(len(one.tasks) for one in family.comparisons)
    found = {}
    for one in family.comparisons:
        if len(one.tasks) == most and one.result.interval and one.detectable:
            low, high = (-bound for bound in reversed(one.result.interval))
            told = (
                f"{-one.result.mean:+.1f}",
                f"{low:.1f} to {high:.1f}",
                f"{one.result.p:.2f}",
                f"{one.detectable:.1f}",
            )
            found[one.first.label] = (*told, str(one.result.n))
    return found


def test_what_hifi_is_ahead_of_over_the_four_tasks_is_that_of_the_records(records: Path) -> None:
    rows = rows_below("**Claimed:** HiFi is ahead with few shots")
    found = against(records / "table2-few", "hifi teleport=richness")
    assert {method: tuple(cells) for method, cells in rows.items()} == found


def test_what_the_ranking_is_ahead_of_is_that_of_the_records(records: Path) -> None:
    rows = rows_below("| heads chosen by")
    scores = {
        "pagerank, `teleport=uniform`": "pagerank",
        "random": "random",
        "richness alone": "richness",
        "richness, inverse": "richness-inverse",
        "correlation alone": "correlation",
        "pagerank (uniform), inverse": "pagerank-inverse",
    }
    found = against(records / "table3-few", "hifi score=pagerank teleport=richness")
    assert set(rows) == {*scores, "pagerank, `teleport=richness`"}
    for name, score in scores.items():
        difference, interval, p, shown, _ = found[f"hifi score={score} teleport=uniform"]
        assert rows[name][4] == f"{difference} ({interval}), p {p}, {shown}", name
