"""What is read of the heads beside a record, in which form it is refused, and what it says of the model's state."""

import json
from pathlib import Path

import numpy as np
import pytest

from peftlab.report.figures.hifi.selections import Heads, heads_of
from peftlab.report.study import read
from studies import run, spectra, study_with_heads, write, write_selection


def alone(folder: Path, **selection) -> Heads:
    """The heads of one run."""
    (record,) = records = [run()]
    write(folder, records)
    write_selection(record, **selection)
    found, unread = heads_of(read([folder]).cells[0])
    assert unread == []
    return found


@pytest.fixture
def with_heads(tmp_path: Path):
    return study_with_heads(tmp_path)


def test_selections_are_read_seed_by_seed(with_heads) -> None:
    found, unread = heads_of(with_heads.cells[0])
    assert (unread, found.seeds, found.richness.shape, found.correlation.shape) == ([], [1, 2], (2, 2, 4), (2, 2, 4, 4))
    assert found.chosen.sum(axis=-1).tolist() == [[2, 2], [2, 2]]
    assert found.degree.sum(axis=-1) == pytest.approx(np.ones((2, 2)))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ('{"layers": 1, "heads": 2, "richness": [[1]]}', "not a selection of heads"),
        ("{", "not a selection of heads"),
        ('{"mask": 3}', None),
    ],
)
def test_a_selection_that_cannot_be_read_is_told_and_another_methods_is_none(content, told, tmp_path: Path) -> None:
    write(tmp_path, [run()])
    (tmp_path / "0-rte-seed1" / "selection.json").write_text(content)
    found, unread = heads_of(read([tmp_path]).cells[0])
    assert found is None
    assert unread == [] if told is None else told in unread[0]


def test_seeds_of_another_model_do_not_stand_among_the_others(tmp_path: Path) -> None:
    records = [run(seed=1), run(seed=2)]
    write(tmp_path, records)
    for record, layers in zip(records, (2, 3), strict=True):
        write_selection(record, layers=layers)
    found, unread = heads_of(read([tmp_path]).cells[0])
    assert found.seeds == [1]
    assert unread[0].endswith("another number of layers or heads than seed 1's")


def test_the_degree_is_a_heads_share_of_its_layers_correlation() -> None:
    correlation = np.array([[[[0.0, 3.0, 1.0], [3.0, 0.0, 2.0], [1.0, 2.0, 0.0]], np.zeros((3, 3))]])
    found = Heads([1], np.ones((1, 2, 3)), correlation, np.ones((1, 2, 3)), np.ones((1, 2, 3), dtype=bool))
    assert found.degree[0, 0] == pytest.approx([4 / 12, 5 / 12, 3 / 12])
    assert found.degree[0, 1].tolist() == [0, 0, 0]  # a layer whose heads do not correlate at all
    assert found.pairs[0].tolist() == [[3, 1, 2], [0, 0, 0]]


def test_the_state_of_the_model_and_the_threshold_are_read(tmp_path: Path) -> None:
    found = alone(tmp_path, after_steps=100)
    assert (found.after_steps, found.xi, found.spectrum) == (100, 0.9, None)


def test_spectra_are_read_seed_by_seed(tmp_path: Path) -> None:
    found = alone(tmp_path, features=5)
    assert found.spectrum.shape == (1, 2, 4, 5)
    assert found.spectrum[0, 1] == pytest.approx(spectra(4, 5))


def test_selections_that_say_nothing_of_threshold_and_state_are_of_an_untouched_model(tmp_path: Path) -> None:
    alone(tmp_path)
    file = tmp_path / "0-rte-seed1" / "selection.json"
    content = json.loads(file.read_text())
    del content["options"]
    file.write_text(json.dumps(content))
    found, unread = heads_of(read([tmp_path]).cells[0])
    assert (unread, found.xi, found.after_steps, found.spectrum) == ([], None, 0, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("correlation", [[1.0]]),
        ("chosen", [[0, 9], [1]]),
        ("ranks", "many"),
        ("spectrum", [[0.1, 0.2, 0.3]]),
        ("options", ["xi"]),
        ("layers", None),
    ],
)
def test_a_field_of_another_form_is_told_with_the_files_name(field: str, value: object, tmp_path: Path) -> None:
    alone(tmp_path)
    file = tmp_path / "0-rte-seed1" / "selection.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), field: value}))
    found, (line,) = heads_of(read([tmp_path]).cells[0])
    assert found is None
    assert line.startswith(f"{file}: not a selection of heads (")


def test_one_unreadable_seed_does_not_hide_the_others(tmp_path: Path) -> None:
    records = [run(seed=seed) for seed in (1, 2, 3)]
    write(tmp_path, records)
    for record in records[:2]:
        write_selection(record)
    (records[0].folder / "selection.json").write_text("{")
    found, unread = heads_of(read([tmp_path]).cells[0])
    assert (found.seeds, len(unread)) == ([2], 1)
