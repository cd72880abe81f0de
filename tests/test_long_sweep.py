"""The quick form of `long_sweep.py`: two rounds of six methods in one process."""

import subprocess

from conftest import ROOT
from warm_python import warm_python


def test_jobs_of_one_process_do_not_grow_and_do_not_depend_on_one_another():
    command = [*warm_python(), str(ROOT / "tests" / "long_sweep.py"), "12"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 jobs: 0 differ" in done.stdout
