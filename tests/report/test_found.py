"""The page finds its figures by itself, a user's own among them."""

import re
import subprocess
from pathlib import Path

import peftlab.report
from peftlab.report.figures.found import draw_all
from studies import run, study, write
from warm_python import warm_python

REPORT = Path(__file__).resolve().parents[2] / "report.py"
MINE = """
import plotly.graph_objects as go
from peftlab.report.figures.base import Drawing, Figure

def seeds(study, comparisons):
    drawing = Drawing("all", go.Figure(go.Bar(y=[len(cell.seeds) for cell in study.cells])))
    return Figure("SLUG", "Seeds of each method", "How many seeds.", [drawing], "no run", order=15)

FIGURES = (seeds,)
"""


def report(folder: Path, slug: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a folder that holds a user's package; its process alone loads it."""
    (folder / "my_figures.py").write_text(MINE.replace("SLUG", slug))
    write(folder / "runs", [run(0.5), run(0.6, seed=2)])
    typed = [*warm_python(), str(REPORT), "runs", "--plugins", "my_figures"]
    return subprocess.run(typed, cwd=folder, capture_output=True, text=True)


def test_the_figures_stand_by_their_order_each_with_a_name_of_its_own() -> None:
    found = draw_all(study({"a": [0.5, 0.6], "b": [0.6, 0.7]}), [])
    assert [figure.slug for figure in found] == [
        "scores", "duels", "pareto", "learning", "tuning", "options", "iterations", "heads", "covariance", "robustness",
        "robustness-correlation", "spectra", "landscape",
    ]  # fmt: skip
    assert [figure.order for figure in found] == sorted({figure.order for figure in found})


def test_a_figure_of_a_users_package_stands_on_the_page(tmp_path: Path) -> None:
    done = report(tmp_path, "seeds")
    assert (done.returncode, done.stderr) == (0, "")
    sections = re.findall(r'<section id="([\w-]+)">', (tmp_path / "report" / "index.html").read_text())
    assert sections[:4] == ["comparison", "scores", "seeds", "statistics"]  # one method meets nobody: no empty duels


def test_two_figures_of_one_name_are_refused(tmp_path: Path) -> None:
    done = report(tmp_path, "scores")
    assert (done.returncode, done.stderr) == (2, "error: two figures have the slug scores: each needs its own\n")


def test_only_hifis_folder_knows_of_its_selections() -> None:
    room = Path(peftlab.report.__file__).parent
    for file in [*room.rglob("*.py"), *room.rglob("*.j2"), *room.rglob("*.js")]:
        if "hifi" not in file.parts:
            assert not re.search(r"(?i)hifi|selection\.json|selections|attention", file.read_text()), file
