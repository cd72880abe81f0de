"""What a command says before it imports torch, which takes seconds: what it is about to do, or what is wrong."""

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT

TORCH = 'raise SystemExit("torch is imported")\n'


@pytest.fixture
def typed(tmp_path: Path):
    """Type `python train.py ...` where importing torch ends the process; return what it printed on both streams."""
    (tmp_path / "torch.py").write_text(TORCH, encoding="utf-8")

    def type_(*words: str) -> tuple[str, str]:
        environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}", "HOME": str(tmp_path)}
        command = [sys.executable, str(ROOT / "train.py"), "+strategy=hifi", *words]
        ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        return ran.stdout, ran.stderr

    return type_


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("seed=x", "seed=x: allowed are whole numbers from 0 to 4294967295"),
        ("data.root=nowhere", "data.root=nowhere: no such folder"),
        ("backbone.path=nowhere", "backbone.path=nowhere: no such folder"),
        ("data.max_length=long", "data.max_length=long: allowed is a whole number"),
        ("training.learning_rate=fast", "training.learning_rate=fast: allowed is a number"),
        ("training.warmup=2", "training.warmup=2.0: allowed is [0, 1), a share of all steps"),
        ("checkpoint.every_steps=0", "checkpoint.every_steps=0: allowed is above 0, or null"),
        ("backbone.attention=fast", "backbone.attention=fast: allowed are auto, sdpa, eager"),
        ("trainer=3", "trainer=3: no such trainer; there are auto, cpu, debug, fsdp, gpu"),
    ],
)
def test_a_mistake_is_told_before_torch_is_imported(word, line, typed):
    assert typed("task=rte", "backbone=minilm", word) == ("", f"error: {line}\n")


def test_a_run_says_what_it_is_about_to_do_before_torch_is_imported(typed):
    said, torch = typed("task=contrast", "backbone=tiny", "seed=7", "shots=16", "hydra.run.dir=out")
    assert said == "loading tiny and contrast (16 examples a class) for hifi, seed 7, into out\n"
    assert "torch is imported" in torch


def test_a_sweep_says_first_how_many_runs_it_has(typed):
    said, _ = typed("task=contrast", "backbone=tiny", "-m", "seed=1,2,3", "strategy.k=1,2", "hydra.sweep.dir=out")
    assert said.splitlines()[0] == "6 runs into out"
