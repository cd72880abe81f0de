"""A seed decides a run, bit for bit, whatever ran before it and however its data is loaded."""

from pathlib import Path
from typing import Any

import pytest
import torch
from fitting import FitResult, fit, same_weights

from peftlab.strategies.hifi import HiFi


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    return fit(tmp_path_factory.mktemp("first"), HiFi(k=1, n=5), seed=0)


def test_the_same_seed_gives_the_same_weights_again(first: FitResult, tmp_path: Path):
    torch.rand(5)
    assert same_weights(first, fit(tmp_path, HiFi(k=1, n=5), seed=0))


def test_a_reused_selection_gives_the_weights_of_the_computed_one(first: FitResult, tmp_path: Path):
    (file, _) = first.attach.selection.save(tmp_path)
    reused = fit(tmp_path, HiFi(k=1, n=5, selection=str(file)), seed=0)
    assert same_weights(first, reused)


def test_the_number_of_loader_processes_does_not_matter(first: FitResult, tmp_path: Path):
    assert same_weights(first, fit(tmp_path, HiFi(k=1, n=5), seed=0, data_options={"num_workers": 2}))


@pytest.mark.parametrize("seed", [1, 2])
def test_seed_zero_is_a_seed_like_any_other(first: FitResult, seed: int, tmp_path: Path):
    other = fit(tmp_path, HiFi(k=1, n=5), seed=seed)
    assert not torch.equal(first.module.model.classifier.weight, other.module.model.classifier.weight)


def test_dropout_is_what_the_seed_draws(tmp_path: Path):
    still: dict[str, Any] = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    runs = [fit(tmp_path, "bitfit", seed=0, epochs=1, sizes=sizes) for sizes in (None, still)]
    assert not same_weights(*runs)
