"""Command lines of the project for benchmarks: as a user types them, or composed for a run in this process."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from peftlab.arguments import normalise
from peftlab.cli import CONF, quiet_libraries

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
QUIET = "trainer.enable_progress_bar=false trainer.enable_model_summary=false"


def configuration(typed: str) -> dict[str, Any]:
    """Return the configuration of a command line."""
    quiet_libraries()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        plain = OmegaConf.to_container(compose("config", overrides=normalise(typed.split())), resolve=True)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def train(typed: str, folder: Path) -> None:
    """Run `python train.py TYPED` in a folder.

    Raises:
        RuntimeError: it failed; the message is what it printed.
    """
    command = [sys.executable, str(ROOT / "train.py"), *typed.split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)


def rte() -> str:
    """Return where RTE comes from: the GLUE files beside the checkout, else the Hub."""
    return f"task=rte data.root={DATA}" if DATA.is_dir() else "task=rte"
