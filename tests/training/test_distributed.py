"""Two processes train as one does: the same heads, the same weights, the same steps, exact metrics."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fitting import TRAIN, VALIDATION, fit
from two_ranks import SIZES

from peftlab.strategies.hifi import HiFi

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(HERE / "two_ranks.py"), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def test_the_first_rank_selects_and_all_tune_the_same_heads(ranks: list[dict[str, Any]]):
    assert [rank["looks"] for rank in ranks] == [1, 0]
    assert ranks[0]["heads"] == ranks[1]["heads"]


def test_all_ranks_end_with_the_same_weights_and_metrics(ranks: list[dict[str, Any]]):
    for same in ("weights", "results"):
        assert ranks[0][same] == ranks[1][same]


def test_every_example_is_trained_on_once_an_epoch_and_evaluated_once(ranks: list[dict[str, Any]]):
    assert [(rank["examples"], rank["evaluated"]) for rank in ranks] == [(2 * TRAIN, VALIDATION)] * 2


def test_training_is_that_of_one_process(ranks: list[dict[str, Any]], tmp_path: Path):
    alone = fit(tmp_path, HiFi(k=1, n=5), sizes=SIZES)
    assert ranks[0]["steps"] == alone.trainer.global_step
    assert ranks[0]["tokens"] == alone.module.tokens_seen
    assert ranks[0]["heads"] == alone.module.strategy.delta_facts()["heads"]
    # Half a batch a rank adds up in another order than a whole one: weights within 1e-4, metrics alike.
    assert ranks[0]["results"] == pytest.approx(alone.module.results, abs=1e-6)
    for ours, theirs in zip(ranks[0]["classifier"], alone.module.model.classifier.weight.tolist(), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)
