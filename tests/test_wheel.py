"""The wheel: the laboratory with its configuration, installed where there is no checkout."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conftest import ROOT
from peftlab.console import COMMANDS
from peftlab.results.found import find_records

BUILD = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
SOURCE = ("src", "conf", "pyproject.toml", "README.md", "LICENSE")


def done(command: list[str], folder: Path, **environment: str) -> str:
    """Run a command and return what it prints; it must end well."""
    ran = subprocess.run(
        command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, timeout=180
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is built, so that nothing is left behind in the checkout."""
    pytest.importorskip("setuptools", minversion="77")
    copy = tmp_path_factory.mktemp("tree")
    for name in SOURCE:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("*.egg-info"))
        else:
            shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def wheel(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done([*BUILD, "--wheel-dir", str(folder), str(tree)], folder)
    (found,) = folder.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds the installed package and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(folder)]
    done([*pip, str(wheel)], folder)
    return folder


def assert_complete(wheel: Path) -> None:
    """Every YAML of `conf/`, as a file with its content; templates and the mark of a typed package beside them."""
    with zipfile.ZipFile(wheel) as archive:
        carried = {name for name in archive.namelist() if name.startswith("peftlab/conf/")}
        expected = {f"peftlab/conf/{path.relative_to(ROOT / 'conf')}": path for path in (ROOT / "conf").rglob("*.yaml")}
        assert carried == expected.keys()
        assert all(archive.read(name) == path.read_bytes() for name, path in expected.items())
        templates = {
            f"peftlab/report/templates/{path.name}" for path in (ROOT / "src/peftlab/report/templates").iterdir()
        }
        launchers = "hydra_plugins/peftlab_launchers/__init__.py"
        assert {*templates, "peftlab/py.typed", launchers} <= set(archive.namelist())


def test_there_is_one_copy_of_the_configuration():
    link = ROOT / "src" / "peftlab" / "conf"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "conf"


def test_the_wheel_carries_the_configuration(wheel):
    assert_complete(wheel)


def test_so_does_the_wheel_of_a_source_distribution(tree, tmp_path):
    build = f"from setuptools import build_meta; build_meta.build_sdist({str(tmp_path)!r})"
    done([sys.executable, "-c", build], tree)
    (archive,) = tmp_path.glob("*.tar.gz")
    done([*BUILD, "--wheel-dir", str(tmp_path), str(archive)], tmp_path)
    (found,) = tmp_path.glob("*.whl")
    assert_complete(found)


def test_an_installed_package_runs_the_demo_from_an_empty_folder(installed, tmp_path):
    typed = "-m peftlab train +strategy=hifi task=demo backbone=tiny trainer=debug strategy.n=12"
    alone = {"PYTHONPATH": str(installed), "PEFTLAB_CACHE": str(tmp_path / "cache")}
    printed = done([sys.executable, *typed.split()], tmp_path, **alone)
    (record,) = find_records(tmp_path / "outputs")
    assert f"record: {record.folder}/result.json" in printed
    assert record.status == "finished"
    assert record.commit is None
    assert record.command[:5] == ["-m", "peftlab", "train", "+strategy=hifi", "task=demo"]


def test_the_installed_console_command_lists_what_it_does(installed, tmp_path):
    printed = done([str(installed / "bin" / "peftlab"), "--help"], tmp_path, PYTHONPATH=str(installed))
    assert all(f"\n  {name} " in printed for name in COMMANDS)
    assert "python -m peftlab" not in printed
