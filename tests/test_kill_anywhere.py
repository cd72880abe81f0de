"""The quick form of `kill_anywhere.py`: three real kills, in processes of their own."""

import subprocess

from conftest import ROOT
from warm_python import warm_python


def test_killed_processes_go_on_and_end_as_undisturbed_ones():
    command = [*warm_python(), str(ROOT / "tests" / "kill_anywhere.py"), "3", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("3 kills (")
    assert done.stdout.rstrip().endswith(": 0 differ")
