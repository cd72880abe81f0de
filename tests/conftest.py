"""What all tests share: where real data lies, and the reason when it does not."""

import contextlib
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure() -> None:
    # Until all tests are imported there is no garbage to look for: that takes eight seconds of each worker.
    gc.disable()


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


@contextlib.contextmanager
def kept_environment() -> Iterator[None]:
    """Put the environment back as it was before."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol() -> Iterator[Any]:
    # Libraries leave variables (wandb its service's), with which all later commands would be new interpreters:
    # `warm_python` serves those of its own environment.
    with kept_environment():
        return (yield)


@pytest.fixture(scope="session")
def shared() -> Path:
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("../shared with the real GLUE files is not there")
    return folder


@pytest.fixture(scope="session")
def shared_data(shared: Path) -> Path:
    return shared / "data"


@pytest.fixture(scope="module")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a made-up RTE in the layout of the GLUE release."""
    from runs import write_rte  # imports this file

    return write_rte(tmp_path_factory.mktemp("glue"))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that a payload writes; none may have."""
    return tmp_path / "mark"
