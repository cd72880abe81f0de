"""A command line carried out in the tests' own process, which has its libraries loaded."""

import logging
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from peftlab.cli import main


def command(typed: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Type `python train.py TYPED` in `folder`; return the exit code. Logging is then as it was before."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    GlobalHydra.instance().clear()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["train.py", *typed.split()])
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    return int(ended.value.code or 0)
