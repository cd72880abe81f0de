"""The head map shows the numbers it was given; looked at through matplotlib's own objects and the pixels."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import image
from matplotlib.colors import to_rgb

from peftlab.heads import picture


def selection(layers: int = 6, heads: int = 12, chosen: list[list[int]] | None = None) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    correlation = rng.random((layers, heads, heads))
    ranking = rng.random((layers, heads))
    ranks = (-ranking).argsort(axis=1).argsort(axis=1) + 1
    return {
        "schema": 1,
        "layers": layers,
        "heads": heads,
        "examples": 300,
        "richness": rng.random((layers, heads)).tolist(),
        "correlation": (correlation + correlation.transpose(0, 2, 1)).tolist(),
        "pagerank": ranking.tolist(),
        "ranking": ranking.tolist(),
        "ranks": ranks.tolist(),
        "iterations": [7] * layers,
        "chosen": chosen or [sorted(np.flatnonzero(row <= 3).tolist()) for row in ranks],
        "options": {"k": 3, "score": "pagerank", "variant": "layer-wise", "d": 0.85},
    }


def red_pixels(path: Path) -> int:
    pixels = image.imread(path)[..., :3]
    return int((np.abs(pixels - to_rgb(picture.OUTLINE)).max(axis=-1) < 0.02).sum())


@pytest.mark.parametrize(("layers", "heads"), [(6, 12), (12, 12), (24, 16), (1, 1)])
def test_every_usual_geometry_gives_a_picture_wide_enough_to_read(layers: int, heads: int, tmp_path: Path):
    picture.draw(selection(layers, heads, [[0]] * layers), tmp_path / "map.png")
    height, width, _ = image.imread(tmp_path / "map.png").shape
    assert width >= 4 * heads * 25
    assert height >= layers * 25
    assert [file.name for file in tmp_path.iterdir()] == ["map.png"]


def test_the_panels_hold_the_numbers_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    drawn: dict[str, np.ndarray] = {}
    panel = picture._panel

    def spy(figure: Any, axes: Any, name: str, values: np.ndarray, colours: str) -> None:
        drawn[name] = values
        panel(figure, axes, name, values, colours)

    monkeypatch.setattr(picture, "_panel", spy)
    given = selection()
    picture.draw(given, tmp_path / "map.png")
    richness, degree, ranking, ranks = drawn.values()
    assert np.array_equal(richness, given["richness"])
    assert np.array_equal(ranking, given["ranking"])
    assert np.array_equal(ranks, given["ranks"])
    rows = np.array([[sum(row) for row in layer] for layer in given["correlation"]])
    assert degree == pytest.approx(rows / rows.sum(axis=1, keepdims=True))
    assert degree.sum(axis=1) == pytest.approx(1.0)


def test_chosen_heads_are_outlined_and_only_they(tmp_path: Path):
    picture.draw(selection(chosen=[[]] * 6), tmp_path / "none.png")
    picture.draw(selection(chosen=[[]] * 5 + [[3]]), tmp_path / "one.png")
    picture.draw(selection(chosen=[[]] * 5 + [[3, 8]]), tmp_path / "two.png")
    assert red_pixels(tmp_path / "none.png") == 0
    one, two = red_pixels(tmp_path / "one.png"), red_pixels(tmp_path / "two.png")
    assert one > 100
    assert two == pytest.approx(2 * one, rel=0.1)


def test_the_last_layer_is_at_the_top(tmp_path: Path):
    picture.draw(selection(chosen=[[]] * 5 + [[3]]), tmp_path / "map.png")
    pixels = image.imread(tmp_path / "map.png")[..., :3]
    rows = np.flatnonzero((np.abs(pixels - to_rgb(picture.OUTLINE)).max(axis=-1) < 0.02).any(axis=1))
    assert rows.max() < len(pixels) / 2


def test_the_title_says_how_the_heads_were_chosen():
    title = picture._title(selection())
    for words in ("k = 3", "layer-wise", "pagerank", "d = 0.85", "n = 300"):
        assert words in title


def test_a_layer_without_any_correlation_is_drawn_as_zero(tmp_path: Path):
    dead = selection()
    dead["correlation"][2] = np.zeros((12, 12)).tolist()
    with np.errstate(all="raise"):
        picture.draw(dead, tmp_path / "map.png")
    assert (tmp_path / "map.png").stat().st_size > 10_000


def test_the_same_selection_gives_the_same_bytes(tmp_path: Path):
    for name in ("a.png", "b.png"):
        picture.draw(selection(), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
