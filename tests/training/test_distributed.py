"""Two processes train as one does: the same heads, the same weights, the same steps, exact metrics."""

import json
import os
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fitting import TRAIN, VALIDATION, fit
from test_resumption import outcome
from two_ranks import SIZES, SPREADS

from peftlab.results.found import find_records
from peftlab.results.record import RunRecord
from peftlab.strategies.hifi import HiFi
from peftlab.strategies.registry import strategy_names
from runs import SILENT, SMALL, train, write_rte
from warm_python import warm_python

HERE = Path(__file__).parent


def start(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Start a script of this folder that goes on two processes."""
    places = [str(HERE), str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(places), "OMP_NUM_THREADS": "1"}
    command = [*warm_python(), str(HERE / script), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture(scope="module", params=[*SPREADS])
def ranks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    done = start("two_ranks.py", folder, "hifi", request.param)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def spread_of(request: pytest.FixtureRequest) -> str:
    return request.node.callspec.params["ranks"]


def test_the_first_rank_selects_and_all_tune_the_same_heads(ranks: list[dict[str, Any]]):
    assert [rank["looks"] for rank in ranks] == [1, 0]
    assert ranks[0]["heads"] == ranks[1]["heads"]


def test_all_ranks_end_with_the_same_weights_and_metrics(ranks: list[dict[str, Any]]):
    for same in ("weights", "results"):
        assert ranks[0][same] == ranks[1][same]


def test_every_example_is_trained_on_once_an_epoch_and_evaluated_once(ranks: list[dict[str, Any]]):
    assert [(rank["examples"], rank["evaluated"]) for rank in ranks] == [(2 * TRAIN, VALIDATION)] * 2


def test_training_is_that_of_one_process(ranks: list[dict[str, Any]], tmp_path: Path, request):
    alone = fit(tmp_path, HiFi(k=1, n=5), sizes=SIZES, **SPREADS[spread_of(request)])
    assert ranks[0]["steps"] == alone.trainer.global_step
    assert ranks[0]["tokens"] == alone.module.tokens_seen
    assert ranks[0]["heads"] == alone.attach.selection.facts()["heads"]
    # Half a batch a rank adds up in another order than a whole one: weights within 1e-4, metrics alike.
    assert ranks[0]["results"] == pytest.approx(alone.module.results, abs=1e-6)
    for ours, theirs in zip(ranks[0]["classifier"], alone.module.model.classifier.weight.tolist(), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_of_frozen_weights_each_process_holds_all_or_its_part(ranks: list[dict[str, Any]], request):
    share = 0.5 if spread_of(request).startswith("fsdp") else 1.0
    assert [rank["held"] for rank in ranks] == pytest.approx([share, share], abs=0.01)


# Why a strategy does not take a backbone in parts; all others do.
WHOLE = {
    "adapterdrop": "strategy adapterdrop leaves parts out, other ones on each device",
    "child-tuning": "strategy child-tuning leaves nothing frozen to share out",
    "diff-pruning": "strategy diff-pruning reads frozen weights between steps",
    "full": "strategy full leaves nothing frozen to share out",
}


def test_every_strategy_trains_a_backbone_in_parts_as_a_whole_one_or_says_why_not(tmp_path: Path):
    """The rows of heads are computed once more there, and sums come in another order; nothing else differs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ThreadPoolExecutor() as both:
        done = [*both.map(lambda rank: start("two_parts.py", rank, port, tmp_path), (0, 1))]
    assert [process.returncode for process in done] == [0, 0], done[0].stderr[-3000:]
    for rank in (0, 1):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        refused = {pair.split()[0]: one["refused"] for pair, one in found.items() if "refused" in one}
        refused.pop("adapterhub", None)  # where its library is missing
        assert refused == {name: f"trainer.strategy=fsdp: allowed is ddp, {why}" for name, why in WHOLE.items()}
        trained = {pair: one for pair, one in found.items() if "held" in one}
        assert len(trained) >= len(strategy_names()) + 5 - len(WHOLE) - 1
        assert [one["held"] for one in trained.values()] == pytest.approx([0.5] * len(trained), abs=0.03)
        apart = {pair: one["apart"] for pair, one in trained.items()}
        assert {pair.split()[0] for pair, by in apart.items() if by != 0} <= {"hifi", "s2ft"}
        assert max(apart.values()) < 1e-5


def test_a_method_that_exchanges_its_parameters_trains_on_two_processes(tmp_path: Path):
    """Diff-Pruning: the ranks prune alike, and then average the gradients of what is left."""
    done = start("two_ranks.py", tmp_path, "diff-pruning")
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second  # though each has seen other examples and drawn other gates
    assert (first["phase"], first["steps"]) == (1, 6)
    assert first["tuned"] > 0


@pytest.mark.slow
def test_a_sweep_s_run_on_two_processes_is_a_command_of_its_own(tmp_path: Path):
    write_rte(tmp_path / "glue")
    typed = f"+strategy=bitfit task=rte data.root=glue {SMALL} {SILENT} trainer.devices=2 trainer.strategy=ddp"
    done = train(f"{typed} training.learning_rate=1e30 hydra.sweep.dir=out -m", tmp_path, 300, OMP_NUM_THREADS="1")
    assert done.returncode == 2, done.stderr
    (record,) = find_records(tmp_path / "out")
    assert (record.status, record.mistake) == ("failed", True)
    assert "! bitfit: seed 1 failed: training: the loss is nan at step 2" in done.stdout
    assert "what is missing: python train.py resume=out" in done.stdout
    assert not (tmp_path / "out" / ".outcomes").exists()


@pytest.mark.parametrize(
    ("strategy", "spread"), [("adapterdrop", "ddp"), pytest.param("hifi", "fsdp", marks=pytest.mark.slow)]
)
def test_a_run_of_two_processes_that_was_killed_goes_on_as_if_nothing_had_happened(strategy, spread, tmp_path: Path):
    """AdapterDrop: each process draws what a step leaves out, so each needs its own random state back."""
    write_rte(tmp_path)
    undisturbed = start("two_ranks_killed.py", tmp_path, strategy, spread)
    assert undisturbed.returncode == 0, undisturbed.stderr[-3000:]
    killed = start("two_ranks_killed.py", tmp_path, strategy, spread, 4)
    assert killed.returncode == -signal.SIGKILL
    assert RunRecord.read(tmp_path / "killed").status == "running"
    again = start("two_ranks_killed.py", tmp_path, strategy, spread, 99)
    assert again.returncode == 0, again.stderr[-3000:]
    record = RunRecord.read(tmp_path / "killed")
    assert record.resumed == 1
    assert outcome(record) == outcome(RunRecord.read(tmp_path / "undisturbed"))
