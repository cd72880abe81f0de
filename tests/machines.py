"""Two machines on one: processes that call their host another name and share a disk which knows no flock, as NFS is."""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_name("shared_disk.c")


@functools.cache
def preload() -> Path:
    """Return the library that makes a process one of another machine; skip the test where it cannot be compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("a machine of its own needs Linux and a C compiler")
    library = Path(tempfile.mkdtemp()) / "shared_disk.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


def on_machine(name: str, lease: float) -> dict[str, str]:
    """Return the environment of a process on the machine `name`, with leases of so many seconds."""
    return {**os.environ, "LD_PRELOAD": str(preload()), "MACHINE": name, "PEFTLAB_LEASE": str(lease)}
