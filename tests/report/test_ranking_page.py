"""The page on ways to choose heads says what its records say: its table is computed anew from the archive beside it."""

import re
import tarfile
from collections import Counter
from pathlib import Path

import pytest

from conftest import ROOT
from peftlab.report.comparisons import compare_all
from peftlab.report.study import read
from peftlab.results.aggregate import Method
from peftlab.results.found import find_records
from peftlab.results.table import summarise

RESULTS = ROOT / "docs" / "results"
REFERENCE = "hifi d=0.85 score=pagerank score_after_steps=0 teleport=richness"
# How the page calls what an option chooses heads by; PageRank is told apart by its own options.
NAMES = {
    "random": "random, drawn anew with each seed",
    "richness": "richness alone",
    "richness-inverse": "richness, inverse",
    "correlation": "correlation alone",
    "shift": "shift (ALPS), after 40 steps",
    "fisher": "Fisher information",
    "gradient": "gradient (Michel et al.)",
    "pagerank-inverse": "PageRank, inverse",
}


def name_of(method: Method) -> str:
    given = {key.rpartition(".")[2]: value for key, value in method.options}
    if given["score"] in NAMES:
        return NAMES[given["score"]]
    different = {"teleport=uniform": ", `teleport=uniform`", "d=0.5": ", d = 0.5"}
    return "PageRank" + "".join(words for option, words in different.items() if option in method.label.split())


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranking")
    with tarfile.open(RESULTS / "ranking" / "records.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "records" / "low"


def test_the_table_is_that_of_the_records_best_first(records: Path) -> None:
    (family,) = [family for family in compare_all(read([records]), REFERENCE) if not family.over_tasks]
    against = {one.first: one for one in family.comparisons}
    found = []
    for cell in summarise(find_records(records)):
        assert len(cell.scores) == 24
        row = [name_of(cell.method), f"{cell.mean:.1f} ± {cell.std:.1f}"]
        if one := against.get(cell.method):
            row += [f"{one.result.mean:+.1f}".replace("+0.0", "0.0")]
            interval = one.result.interval
            row += [f"{interval[0]:.1f} to {interval[1]:.1f}" if interval else "the same in all pairs"]
            row += [f"{one.p_holm:.2g}", f"{one.detectable:.1f}" if one.detectable else ""]
        found.append(row + [""] * (6 - len(row)))
    page = (RESULTS / "ranking.md").read_text(encoding="utf-8")
    lines = re.search(r"\| heads chosen by.*?\n\n", page, re.DOTALL).group().strip().splitlines()[2:]
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert sorted(shown) == sorted(found)
    scores = [float(row[1].split()[0]) for row in shown]
    assert scores == sorted(scores, reverse=True)


def test_both_readings_and_correlation_chose_the_same_heads_in_all_runs(records: Path) -> None:
    chosen: dict[str, Counter[str]] = {}
    for cell in summarise(find_records(records)):
        chosen[name_of(cell.method)] = Counter(str(run.selection["heads"]) for run in cell.finished)
    (same,) = chosen["PageRank"]
    for name in ("PageRank", "PageRank, `teleport=uniform`", "correlation alone"):
        assert chosen[name] == {same: 24}
    assert chosen["PageRank, d = 0.5"][same] == 20
