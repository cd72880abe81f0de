"""A lock holds on every disk and between machines: its owner refreshes it, the dead lose it, who stood still learns."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from bench.machines import MISSING, on_machine
from peftlab.errors import UserError
from peftlab.locks import FILE, exclusive_lock

LEASE = 1.0
machines = pytest.mark.skipif(bool(MISSING), reason=MISSING)
# Takes the lock of a folder, writes a file there at each line that it reads, and says what came of each.
OWNER = """
import fcntl, sys
from pathlib import Path
from peftlab.errors import UserError
from peftlab.files import write_text_atomic
from peftlab.locks import exclusive_lock

folder = Path(sys.argv[1])
try:
    fcntl.flock(sys.stdin, fcntl.LOCK_EX)
except OSError:
    pass
else:
    sys.exit("flock is not refused here")
with exclusive_lock(folder, patience=float(sys.argv[2])) as alone:
    print("alone" if alone else "busy", flush=True)
    for line in sys.stdin if alone else ():
        try:
            write_text_atomic(folder / "result.json", line)
            print("written", flush=True)
        except UserError as error:
            print(f"{type(error).__name__}: {error}", flush=True)
"""


class Owner:
    """A process on a machine, at work in a folder once it has said `alone`."""

    def __init__(self, machine: str, folder: Path, patience: float = 0.0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(OWNER), str(folder), str(patience)],
            env=on_machine(machine, LEASE),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.folder = folder

    def says(self) -> str:
        return self.process.stdout.readline().strip()

    def writes(self, text: str) -> str:
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()
        return self.says()

    def ends(self) -> None:
        self.process.stdin.close()
        assert self.process.wait(20) == 0

    def __enter__(self) -> "Owner":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()


@machines
@pytest.mark.parametrize("years", [-30, 0, 30])
def test_a_living_owner_keeps_its_lock_whatever_the_clocks_say_and_a_dead_one_loses_it(years, tmp_path):
    """The owner's machine dates its file years before or after those that look at it."""
    with Owner("node1", tmp_path) as first:
        assert first.says() == "alone"
        shifted = time.time() + years * 3.15e7
        os.utime(tmp_path / FILE, (shifted, shifted))
        with Owner("node2", tmp_path, patience=2.5 * LEASE) as second:
            assert second.says() == "busy"
        assert first.writes("one") == "written"
        os.utime(tmp_path / FILE, (shifted, shifted))
        first.process.kill()
        begun = time.monotonic()
        with Owner("node2", tmp_path, patience=5 * LEASE) as second:
            assert second.says() == "alone"
            assert time.monotonic() - begun >= LEASE
            assert second.writes("two") == "written"
            second.ends()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"result.json": "two\n"}


@machines
@pytest.mark.parametrize("reaped", [True, False])
def test_a_dead_owner_on_the_same_machine_is_known_at_once(reaped, tmp_path):
    with Owner("node1", tmp_path) as first:
        assert first.says() == "alone"
        first.process.kill()
        os.waitid(os.P_PID, first.process.pid, os.WEXITED | (0 if reaped else os.WNOWAIT))
        with Owner("node1", tmp_path) as second:
            assert second.says() == "alone"


@machines
def test_who_stood_still_finds_its_run_taken_over_and_writes_no_more(tmp_path):
    with Owner("node1", tmp_path) as first:
        assert first.says() == "alone"
        assert first.writes("first") == "written"
        first.process.send_signal(signal.SIGSTOP)
        with Owner("node2", tmp_path, patience=5 * LEASE) as second:
            assert second.says() == "alone"
            assert second.writes("second") == "written"
            first.process.send_signal(signal.SIGCONT)
            by = f"process {second.process.pid} on node2"
            assert (
                first.writes("late") == f"BusyError: {tmp_path}: was taken over by {by} while this process stood still"
            )
            assert second.writes("third") == "written"
            first.ends()
            with Owner("node1", tmp_path) as third:  # the one that woke has taken nothing along
                assert third.says() == "busy"
            second.ends()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"result.json": "third\n"}


@machines
def test_a_folder_from_another_machine_is_watched_until_its_owner_shows(tmp_path, monkeypatch):
    """A single run would else be refused for ever where a copy of an unfinished one lies."""
    monkeypatch.setenv("PEFTLAB_LEASE", str(LEASE))
    with Owner("node1", tmp_path) as owner:
        assert owner.says() == "alone"
        begun = time.monotonic()
        with exclusive_lock(tmp_path, watch=True) as alone:
            assert not alone
        assert time.monotonic() - begun < LEASE
        owner.process.kill()
        with exclusive_lock(tmp_path, watch=True) as alone:
            assert alone


def test_a_folder_where_nothing_can_be_written_is_everybody_s(tmp_path, monkeypatch):
    def refused(path, flags, *rest, **more):
        if flags & os.O_CREAT:
            raise PermissionError(13, "Permission denied", path)
        return opened(path, flags, *rest, **more)

    opened = os.open
    monkeypatch.setattr(os, "open", refused)
    with exclusive_lock(tmp_path) as first, exclusive_lock(tmp_path) as second:
        assert (first, second) == (True, True)


@pytest.mark.parametrize("given", ["soon", "0", "-1", "inf"])
def test_a_lease_that_is_none_is_refused(given, tmp_path, monkeypatch):
    monkeypatch.setenv("PEFTLAB_LEASE", given)
    with pytest.raises(UserError, match=f"PEFTLAB_LEASE={given}: allowed are"), exclusive_lock(tmp_path):
        pass


@machines
def test_leases_of_two_lengths_are_told(tmp_path, monkeypatch):
    with Owner("node1", tmp_path) as owner:
        assert owner.says() == "alone"
        monkeypatch.setenv("PEFTLAB_LEASE", "7")
        with pytest.raises(UserError, match="PEFTLAB_LEASE must be the same"), exclusive_lock(tmp_path):
            pass
