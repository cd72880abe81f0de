"""A command line carried out in the tests' own process, which has its libraries loaded."""

import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from peftlab.cli import main


def command(typed: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Type `python train.py TYPED` in `folder`; return the exit code."""
    GlobalHydra.instance().clear()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["train.py", *typed.split()])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)
