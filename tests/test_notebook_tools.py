"""What cells of a notebook call: commands that fail loudly, and figures with their words."""

from typing import Any

import plotly.graph_objects as go
import pytest

from peftlab import notebook
from peftlab.report import tables
from peftlab.report.figures.base import Drawing, Figure
from runs import composed
from studies import runs, study, write


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a cell shows, in order: the text of Markdown, and figures."""
    seen: list[Any] = []
    monkeypatch.setattr(notebook, "display", lambda thing: seen.append(thing.data))
    monkeypatch.setattr(go.Figure, "show", lambda figure: seen.append(figure))
    return seen


def test_a_command_is_typed_in_the_repositorys_folder_and_its_words_are_printed(capsys):
    notebook.python("-c \"import os; print('train.py' in os.listdir())\"")
    assert capsys.readouterr().out == "True\n\n"


def test_a_command_that_fails_stops_the_cell_with_what_it_said():
    with pytest.raises(RuntimeError, match=r"exit code 2\nerror: no such folder"):
        notebook.python("-c \"import sys; sys.stderr.write('error: no such folder'); sys.exit(2)\"")


def test_train_shows_no_progress_bars(monkeypatch):
    typed = []
    monkeypatch.setattr(notebook, "python", typed.append)
    notebook.train("+strategy=hifi task=rte")
    assert typed == [f"train.py +strategy=hifi task=rte {notebook.QUIET}"]


def test_a_setting_is_composed_as_the_command_line_does():
    overrides = "+strategy=hifi task=demo backbone=tiny shots=16 strategy.k=2"
    assert notebook.configured(overrides) == composed(overrides)


def test_a_study_is_read_below_folders_of_the_repository(tmp_path, monkeypatch):
    write(tmp_path / "multirun" / "mine", runs({"lora": [0.8, 0.9]}))
    monkeypatch.setattr(notebook, "ROOT", tmp_path)
    (cell,) = notebook.study("multirun/mine").cells
    assert cell.scores == {1: 80.0, 2: 90.0}


def test_figures_are_the_pages_own_without_those_that_nothing_was_recorded_for():
    found = notebook.figures(study({"lora": [0.8, 0.9], "full": [0.7, 0.9]}))
    assert {"scores", "duels", "pareto", "learning"} <= set(found)
    assert "covariance" not in found


def test_a_figure_is_shown_with_its_words_up_to_as_many_drawings_as_asked_for(shown):
    drawings = [Drawing(f"task {number}", go.Figure(), [f"note_{number}"]) for number in (1, 2, 3)]
    notebook.show(Figure("slug", "A title", "What *it* shows.", drawings, "nothing"), most=2)
    first, second = drawings[0].figure, drawings[1].figure
    assert shown == [
        "**A title.** What \\*it\\* shows.",
        *("*task 1*", first, "note\\_1"),
        *("*task 2*", second, "note\\_2"),
    ]


def test_tables_come_with_what_can_be_concluded(shown):
    of = study({"lora": [0.8, 0.9], "full": [0.7, 0.9]})
    notebook.tell(of, tables.performance(of))
    table, conclusions = shown
    assert "| lora | **85.0** ± 7.1 |" in table
    assert conclusions.startswith("- **What was read:** 4 runs of 2 strategies on RTE")
