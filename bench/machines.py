"""Two machines on one: processes that call their host another name and share a disk which knows no flock, as NFS is."""

import functools
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_SOURCE = Path(__file__).with_name("shared_disk.c")
_COMPILER = shutil.which("cc") or shutil.which("gcc")

# Why there can be no such machine here; empty where there can.
MISSING = "" if _COMPILER and sys.platform == "linux" else "a machine of its own needs Linux and a C compiler"


@functools.cache
def _preload() -> Path:
    library = Path(tempfile.mkdtemp()) / "shared_disk.so"
    subprocess.run([str(_COMPILER), "-shared", "-fPIC", "-o", library, _SOURCE, "-ldl"], check=True)
    return library


def on_machine(name: str, lease: float) -> dict[str, str]:
    """Return the environment of a process on the machine `name`, with leases of so many seconds.

    Raises:
        RuntimeError: `MISSING` says why.
    """
    if MISSING:
        raise RuntimeError(MISSING)
    return {**os.environ, "LD_PRELOAD": str(_preload()), "MACHINE": name, "PEFTLAB_LEASE": str(lease)}
