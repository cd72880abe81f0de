"""Commands that share a sweep's folder: each run is done once, whoever is killed, and all end with the same word."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.machines import MISSING, on_machine
from peftlab.locks import exclusive_lock
from peftlab.outcome import Outcome, begin_sweep, outcomes_by_number, write_outcome
from peftlab.pool import FailedElsewhereError, wait_for_others
from peftlab.results.record import RunRecord
from peftlab.run import run_unless_finished
from results.records import finished
from runs import small

RUNS = 50
FATAL = random.Random(3).sample(range(RUNS), 12)
STUBS = Path(__file__).with_name("pool_of_stubs.py")


def begin(machine: str, sweep: Path) -> subprocess.Popen:
    command = [sys.executable, str(STUBS), str(sweep), str(RUNS), "0.1", *map(str, FATAL)]
    return subprocess.Popen(command, env=on_machine(machine, lease=2.0), stdout=subprocess.DEVNULL)


def work_until_all_end(sweep: Path) -> set[int]:
    """Start two processes on each of two machines, the killed ones anew, as a queue would; return which were killed."""
    living = [(machine, begin(machine, sweep)) for machine in ("node1", "node2") * 2]
    killed = set()
    while living:
        machine, process = living.pop(0)
        code = process.wait(300)  # a loaded machine takes its time
        assert code in (0, -signal.SIGKILL)
        if code:
            killed.add(process.pid)
            living.append((machine, begin(machine, sweep)))
    return killed


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_two_machines_killed_at_random_lose_no_run_and_do_none_twice(tmp_path):
    killed = work_until_all_end(tmp_path)
    again = 0
    for number in range(RUNS):
        folder = tmp_path / f"run-{number}"
        assert RunRecord.read(folder).status == "finished"
        attempts = [line.split() for line in (folder / "attempts").read_text().splitlines()]
        assert len([what for what, _ in attempts if what == "end"]) <= 1
        begun = [int(process) for what, process in attempts if what == "begin"]
        assert set(begun[:-1]) <= killed  # nobody begins what another is at work on or has done
        assert not (folder / ".lock").exists()
        again += len(begun) - 1
    assert again >= sum(number % 2 == 0 for number in FATAL) > 3  # those that end their process in the midst of a run


@pytest.mark.parametrize(
    ("left", "status", "message"),
    [
        ({}, "already finished", "by another process"),
        ({"status": "failed", "reason": "out of memory"}, "crashed", "out of memory"),
        ({"status": "failed", "reason": "seed=x", "mistake": True}, "mistake", "seed=x"),
        ({"status": "skipped", "reason": "does not fit"}, "skipped", "does not fit"),
        ({"status": "interrupted", "reason": "by a signal"}, None, None),
        ({"status": "running"}, None, None),
    ],
)
def test_what_another_process_makes_of_a_run_counts_here(left, status, message, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PEFTLAB_LEASE", "1")  # which is asked for ten times
    folder = tmp_path / "run"
    finished(seed=1).write(folder)  # from before this command: it says nothing of what is done meanwhile
    begin_sweep(tmp_path, "token", 2)
    write_outcome(Outcome(tmp_path / "own", "finished"), tmp_path, "token", 0)
    write_outcome(Outcome(folder, "busy"), tmp_path, "token", 1)

    def another() -> None:
        with exclusive_lock(folder):
            locked.set()
            time.sleep(0.3)
            finished(seed=1, **left).write(folder)

    locked = threading.Event()
    thread = threading.Thread(target=another)
    thread.start()
    locked.wait()
    assert wait_for_others(tmp_path, "token") is (status is None)
    thread.join()
    found = outcomes_by_number(tmp_path, "token")
    assert found[0].status == "finished"
    assert (found[1].status, found[1].message) == (status or "busy", message or "")
    assert f"waiting for 1 that others are at work on: run (process {os.getpid()} on " in capsys.readouterr().out


def test_what_was_done_since_a_sweep_began_is_neither_forced_nor_tried_again(tmp_path):
    forced = small("data.cache_dir=null force=true", "bitfit")
    assert run_unless_finished(forced, tmp_path / "run", shared_since=0)  # nothing is there yet
    record = RunRecord.read(tmp_path / "run")
    began = (tmp_path / "run" / "result.json").stat().st_mtime_ns
    assert not run_unless_finished(forced, tmp_path / "run", shared_since=began - 1)
    assert RunRecord.read(tmp_path / "run") == record
    record.stop("failed", "out of memory")
    record.write(tmp_path / "run")
    with pytest.raises(FailedElsewhereError, match="out of memory") as caught:
        run_unless_finished(forced, tmp_path / "run", shared_since=began)
    assert caught.value.outcome.status == "crashed"
    assert run_unless_finished(forced, tmp_path / "run", shared_since=time.time_ns())  # a later command's own try
