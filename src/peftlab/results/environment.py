"""Where a number comes from: library versions, commit, device and the memory it took."""

import importlib.metadata
import os
import platform
import re
import resource
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Literal

from peftlab.version import __version__

LIBRARIES = (
    "torch", "transformers", "lightning", "peft", "datasets", "torchmetrics",
    "hydra-core", "omegaconf", "safetensors", "bitsandbytes",
)  # fmt: skip


# What a run's numbers can depend on: data, runs and notes that lie in a checkout are no code.
_CODE = ("src", "conf", ":(glob)*.py", "pyproject.toml")


def versions() -> dict[str, str]:
    """Return the versions of Python, of the laboratory and of the installed `LIBRARIES`, which are not imported.

    The laboratory's is that of the code that runs; a checkout that was installed once may say another.
    """
    found = {"python": platform.python_version(), "peftlab": __version__}
    for name in LIBRARIES:
        version = _installed(name)
        if version is not None:
            found[name] = version
    return found


@cache  # a process keeps what it has once imported
def _installed(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit_and_dirty(root: Path) -> tuple[str | None, bool | None]:
    """Return the commit checked out at `root` and whether the code differs from it, untracked files included.

    (None, None) when `root` is not itself the top of a git checkout: an installed package may lie inside
    somebody else's repository, whose commit says nothing about this code.
    """
    top, commit = _git(root, "rev-parse", "--show-toplevel"), _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", *_CODE)
    if top is None or commit is None or changes is None or Path(top) != root.resolve():
        return None, None
    return commit, bool(changes)


def _git(root: Path, *arguments: str) -> str | None:
    # Runs of one sweep ask at the same moment: git must not take the index lock to refresh it.
    command = ["git", "--no-optional-locks", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def device_name(kind: str, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return a device type (``cpu``, ``cuda``, ...) with the name of the hardware behind it.

    For example ``cpu: AMD EPYC 7763 (2 cores)``: the cores are those that this process may use.
    """
    if kind == "cuda":
        import torch

        return f"cuda: {torch.cuda.get_device_name()}"
    if kind == "cpu":
        affinity = getattr(os, "sched_getaffinity", None)
        cores = len(affinity(0)) if affinity else os.cpu_count()
        return f"cpu: {_processor(cpuinfo)} ({cores} cores)"
    return f"{kind}: {platform.machine()}"


def _processor(cpuinfo: Path) -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


class PeakMemory:
    """Measure the peak memory of a block: ``with PeakMemory("cpu") as memory:``, then `memory.peak_bytes`.

    On CUDA the memory that torch allocated; else the resident memory of the process, what was resident
    before the block included. Where the system cannot restart its high-water mark (not Linux, or forbidden),
    the peak since the process began is given.
    """

    def __init__(self, device: str) -> None:
        self.kind: Literal["rss", "cuda"] = "cuda" if device == "cuda" else "rss"
        self._stopped: int | None = None

    def __enter__(self) -> "PeakMemory":
        if self.kind == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()
        else:
            _restart_high_water_mark()
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped = self._measure()

    @property
    def peak_bytes(self) -> int:
        """Bytes: the peak of the block, or the peak so far while it runs."""
        return self._measure() if self._stopped is None else self._stopped

    def _measure(self) -> int:
        if self.kind == "cuda":
            import torch

            return torch.cuda.max_memory_allocated()
        return _high_water_mark()


def _restart_high_water_mark(clear_refs: Path = Path("/proc/self/clear_refs")) -> None:
    try:
        clear_refs.write_text("5")  # proc(5): 5 resets the peak resident set size to the present one
    except OSError:
        return


def _high_water_mark(status: Path = Path("/proc/self/status")) -> int:
    try:
        found = re.search(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
    except OSError:
        found = None
    if found:
        return int(found.group(1)) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # getrusage(2): kilobytes, bytes on macOS
