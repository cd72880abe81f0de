"""Whole runs for tests: the configuration a command line gives, small enough for seconds, and the command itself."""

import copy
import csv
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from conftest import ROOT
from peftlab import resolvers
from peftlab.arguments import normalise
from peftlab.cli import CONF
from peftlab.errors import UserError
from peftlab.run import run
from warm_python import warm_python

SMALL = "backbone=tiny trainer=cpu trainer.max_steps=2 trainer.limit_val_batches=1 data.max_length=48"
SILENT = "trainer.enable_progress_bar=false trainer.enable_model_summary=false"


def composed(overrides: str) -> dict[str, Any]:
    """Return the configuration that a command line gives, as a run sees it; composed once for all who ask alike."""
    GlobalHydra.instance().clear()
    return copy.deepcopy(_composed(overrides, os.environ.get("PEFTLAB_CACHE")))


@cache
def _composed(overrides: str, cache_dir: str | None) -> dict[str, Any]:
    """Compose: a third of what a run of two steps takes. Of the environment a configuration reads `PEFTLAB_CACHE`."""
    resolvers.register()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", overrides=normalise(overrides.split())), resolve=True)
    assert isinstance(config, dict)
    return {str(name): value for name, value in config.items()}


def small(overrides: str = "", strategy: str = "hifi") -> dict[str, Any]:
    """Return a configuration of a run of two steps on the tiny backbone; `overrides` go last."""
    scored = "strategy.n=12" if strategy == "hifi" else ""
    return composed(f"+strategy={strategy} task=demo {SMALL} {SILENT} {scored} {overrides}")


def write_split(path: Path, header: str, rows: list[str]) -> Path:
    """Write a tab-separated file in the layout of the GLUE release; `header` empty: none. Return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*([header] if header else []), *rows]) + "\n", encoding="utf-8")
    return path


def write_rte(root: Path, train: int = 40, validation: int = 12) -> Path:
    """Write an RTE of made-up pairs, half of each label, and return the release's folder."""
    for name, examples in (("train.tsv", train), ("dev.tsv", validation)):
        rows = [f"{i}\tbird {i} sang\tdog {i} sang\t{('entailment', 'not_entailment')[i % 2]}" for i in range(examples)]
        write_split(root / "RTE" / name, "index\tsentence1\tsentence2\tlabel", rows)
    return root


def logged_rows(folder: Path) -> list[dict[str, str]]:
    """Return what a run logged, but for its speed, which no two runs share."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{name: value for name, value in row.items() if name != "train/examples_per_second"} for row in rows]


def refused(config: dict[str, Any], folder: Path) -> str:
    """Return the one line with which a run is refused."""
    with pytest.raises(UserError) as caught:
        run(config, folder)
    message = str(caught.value)
    assert message.splitlines() == [message]
    return message


def train(arguments: str, folder: Path, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python train.py ARGUMENTS` as a user would, from another folder, by a Python that has imported all."""
    # A file of tests sets it for all its commands.
    hub = {name: value for name, value in environment.items() if name == "HF_ENDPOINT"}
    return subprocess.run(
        [*warm_python(**hub), str(ROOT / "train.py"), *arguments.split()],
        cwd=folder,
        env={**os.environ, "PEFTLAB_CACHE": str(folder / "cache"), **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def begin(
    arguments: str, folder: Path, python: Sequence[str] = (sys.executable,), **environment: str
) -> subprocess.Popen[str]:
    """Begin `python train.py ARGUMENTS` in a folder; it can be told by a signal, and what it prints is read later."""
    return subprocess.Popen(
        [*python, str(ROOT / "train.py"), *arguments.split()],
        cwd=folder,
        env={**os.environ, "PEFTLAB_CACHE": str(folder / "cache"), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell has what it runs in the background ignore Ctrl-C, and the tests may run there.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def carried_environment() -> dict[str, str]:
    """Return what lets processes that an engine begins find our code and the modules beside the tests."""
    paths = [str(ROOT / "src"), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
