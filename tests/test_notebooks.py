"""The notebooks run from top to bottom on small settings, show what they promise, and are the same in both forms."""

from pathlib import Path
from typing import Any

import jupytext
import pytest
from nbclient import NotebookClient

from conftest import ROOT

FOLDER = ROOT / "notebooks"
# Of each: how many Plotly figures it shows, and what its cells must have said.
SHOWN = {
    "heads_and_scores": (5, ["information richness, layers × heads", "iterations in each layer"]),
    "ablations": (2, ["Ablation of hifi", "pagerank", "random", "iterations from d = 0.1 to 0.9"]),
    "comparison": (4, ["Performance · tiny · 16 shots", "bitfit", "classifier"]),
    "landscape": (2, ["full       seed 1: mean rise", "hifi       seed 1: mean rise"]),
}


def outputs(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Execute a notebook's script, its runs below `folder`; return what its cells gave."""
    monkeypatch.setenv("RUNS", str(folder))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    for name_of_setting in ("SETTING", "SEEDS", "HEADS", "STRATEGIES", "GRID"):
        monkeypatch.delenv(name_of_setting, raising=False)
    notebook = jupytext.read(FOLDER / f"{name}.py")
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def texts(given: list[dict[str, Any]]) -> str:
    """Return what was printed and the Markdown that was shown."""
    printed = (output.get("text") or output.get("data", {}).get("text/markdown", "") for output in given)
    return "\n".join(printed)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_a_notebook_runs_and_shows_what_it_promises(name: str, tmp_path: Path, monkeypatch):
    figures, words = SHOWN[name]
    given = outputs(name, tmp_path, monkeypatch)
    drawn = [output for output in given if "application/vnd.plotly.v1+json" in output.get("data", {})]
    assert len(drawn) >= figures
    assert all(output["data"]["application/vnd.plotly.v1+json"]["data"] for output in drawn)
    said = texts(given)
    assert [word for word in words if word not in said.replace("\\", "")] == []


def test_there_is_a_test_of_every_notebook():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_both_forms_of_a_notebook_hold_the_same_cells_and_no_outputs(name: str):
    script, notebook = (jupytext.read(FOLDER / f"{name}.{kind}") for kind in ("py", "ipynb"))
    assert [(cell.cell_type, cell.source) for cell in script.cells] == [
        (cell.cell_type, cell.source) for cell in notebook.cells
    ], f"jupytext --sync notebooks/{name}.py"
    assert [cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs] == []
