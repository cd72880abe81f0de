"""What a record says of the machine and the code is what they are."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import peftlab
from peftlab.results import environment
from peftlab.results.environment import PeakMemory, commit_and_dirty, device_name, versions


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "code.py").write_text("one")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return folder


def test_versions_are_those_that_would_be_imported():
    found = versions()
    assert found["torch"] == torch.__version__
    assert found["peftlab"] == peftlab.__version__
    assert found["python"] == sys.version.split()[0]
    assert {"transformers", "lightning", "peft", "hydra-core", "safetensors"} <= found.keys()


def test_a_library_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(environment, "LIBRARIES", ("torch", "no-such-library"))
    assert versions().keys() == {"python", "peftlab", "torch"}


def test_a_clean_checkout_gives_its_commit(checkout: Path):
    assert commit_and_dirty(checkout) == (git(checkout, "rev-parse", "HEAD"), False)


@pytest.mark.parametrize(
    ("name", "dirty"),
    [
        ("code.py", True),
        ("untracked.py", True),
        ("src/peftlab/untracked.py", True),
        ("conf/strategy/mine.yaml", True),
        ("my.csv", False),
        ("out/run/.hydra/config.yaml", False),
    ],
)
def test_changed_and_untracked_code_makes_it_dirty_and_data_beside_it_does_not(name, dirty, checkout: Path):
    (checkout / name).parent.mkdir(parents=True, exist_ok=True)
    (checkout / name).write_text("two")
    assert commit_and_dirty(checkout)[1] is dirty


def test_what_is_no_checkout_has_no_commit(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch):
    inside = checkout / "site-packages"
    inside.mkdir()
    assert commit_and_dirty(inside) == (None, None)
    assert commit_and_dirty(tmp_path) == (None, None)
    assert commit_and_dirty(tmp_path / "gone") == (None, None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit_and_dirty(checkout) == (None, None)


def test_a_checkout_without_commits_has_no_commit(tmp_path: Path):
    git(tmp_path, "init", "-q")
    assert commit_and_dirty(tmp_path) == (None, None)


def test_the_processor_is_named_with_the_cores_this_process_may_use(tmp_path: Path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Some CPU 9000\nprocessor\t: 1\nmodel name\t: Other\n")
    assert device_name("cpu", cpuinfo) == f"cpu: Some CPU 9000 ({len(os.sched_getaffinity(0))} cores)"


@pytest.mark.parametrize("content", [None, "Hardware : nameless\n"])
def test_a_processor_without_a_name_is_called_by_its_architecture(content: str | None, tmp_path: Path):
    if content:
        (tmp_path / "cpuinfo").write_text(content)
    assert re.fullmatch(r"cpu: \S.* \(\d+ cores\)", device_name("cpu", tmp_path / "cpuinfo"))


def test_other_devices_are_named_by_kind_and_cuda_by_its_product(monkeypatch: pytest.MonkeyPatch):
    assert device_name("mps").startswith("mps: ")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA X")
    assert device_name("cuda") == "cuda: NVIDIA X"


BLOCKS = """
from peftlab.results.environment import PeakMemory
with PeakMemory("cpu") as large:
    bytearray(400_000_000)
with PeakMemory("cpu") as small:
    bytearray(1000)
print(large.peak_bytes - small.peak_bytes, small.kind)
bytearray(400_000_000)
print(large.peak_bytes - small.peak_bytes, small.kind)
"""


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the kernel keeps one lifelong peak")
def test_peak_memory_is_that_of_the_block_not_of_what_came_before():
    # In a process of its own: one that has run many tests may give memory from what it has and take it back later.
    done = subprocess.run([sys.executable, "-c", BLOCKS], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        difference, kind = line.split()
        assert int(difference) > 350_000_000
        assert kind == "rss"
    assert len(done.stdout.splitlines()) == 2


def test_peak_memory_can_be_asked_before_the_end():
    with PeakMemory("cpu") as memory:
        so_far = memory.peak_bytes
    assert memory.peak_bytes >= so_far > 1_000_000


@pytest.mark.parametrize(("text", "expected"), [("VmPeak:\t9 kB\nVmHWM:\t  123 kB\n", 123 * 1024), ("", None)])
def test_the_high_water_mark_falls_back_to_the_lifelong_peak(text: str, expected: int | None, tmp_path: Path):
    (tmp_path / "status").write_text(text)
    measured = environment._high_water_mark(tmp_path / "status")
    assert measured == expected if expected else measured > 10_000_000
    assert environment._high_water_mark(tmp_path / "gone") > 10_000_000


def test_on_cuda_the_memory_is_what_torch_allocated(monkeypatch: pytest.MonkeyPatch):
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: calls.append("reset"))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 4096)
    with PeakMemory("cuda") as memory:
        assert calls == ["reset"]
    assert (memory.peak_bytes, memory.kind) == (4096, "cuda")
