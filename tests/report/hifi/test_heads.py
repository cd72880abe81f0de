"""Head maps and the correlation between heads, drawn from the selections beside the records."""

from pathlib import Path

import numpy as np
import pytest

from peftlab.report.figures.hifi import heads
from peftlab.report.figures.hifi.selections import heads_of
from studies import study_with_heads


@pytest.fixture
def with_heads(tmp_path: Path):
    return study_with_heads(tmp_path)


def test_head_figures_have_a_variant_a_method(with_heads) -> None:
    assert [v.label for v in heads.maps(with_heads).drawings] == [
        "heads n=100 · RTE · minilm · full data", "heads n=300 · RTE · minilm · full data",
    ]  # fmt: skip
    assert len(heads.covariance(with_heads).drawings[0].figure.data) == 2


def test_covariance_is_divided_by_its_layers_largest(with_heads) -> None:
    found, _ = heads_of(with_heads.cells[0])
    panels = heads.covariance(with_heads).drawings[0].figure.data
    for layer, panel in enumerate(panels):
        expected = found.correlation.mean(axis=0)[layer]
        assert np.asarray(panel.z) == pytest.approx(expected / expected.max(), abs=1e-5)
        assert (panel.zmin, panel.zmax) == (0, 1)


def test_the_head_map_shows_means_over_seeds_and_the_share_that_chose(with_heads) -> None:
    found, _ = heads_of(with_heads.cells[0])
    richness, degree, rank, chosen = heads.maps(with_heads).drawings[0].figure.data
    assert np.asarray(richness.z) == pytest.approx(found.richness.mean(axis=0), abs=1e-5)
    assert np.asarray(degree.z).sum(axis=1) == pytest.approx([1, 1], abs=1e-4)
    assert np.asarray(rank.z).tolist() == [[4, 3, 2, 1]] * 2
    assert np.asarray(chosen.z).tolist() == [[0, 0, 1, 1]] * 2
    assert (list(richness.x), list(richness.y)) == (["1", "2", "3", "4"], ["1", "2"])
