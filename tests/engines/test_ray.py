"""`hydra/launcher=ray`: on a cluster of the command's own, and on one of two nodes that is there, one of them killed.

`make test-engines` installs Ray.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import pytest

from peftlab.results.found import find_records
from runs import SILENT, SMALL, begin, carried_environment, train

pytest.importorskip("ray", reason="the extra ray is not installed: make test-engines")
HELD = "+hydra.callbacks.held._target_=engines.held_jobs.Held"
SWEEP = f"+strategy=bitfit task=demo {SMALL} {SILENT} trainer.max_steps=4 hydra/launcher=ray hydra.sweep.dir=out -m"
RAY = ["-c", "from ray.scripts.scripts import main; main()", "start", "--block", "--num-cpus=1"]


def environment() -> dict[str, str]:
    quiet = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    # Ray's runs would yield to all other programs, and be killed where these have nearly filled the memory.
    quiet |= {"RAY_worker_niceness": "0", "RAY_memory_monitor_refresh_ms": "0"}
    return carried_environment() | quiet


def node(*options: str) -> subprocess.Popen[bytes]:
    """Begin a node of one CPU."""
    command = [sys.executable, *RAY, *options]
    return subprocess.Popen(
        command, env={**os.environ, **environment()}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.fixture
def cluster() -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The address of a cluster, and its two nodes: the head and another one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    head = node("--head", f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false")
    nodes = [head]
    try:
        end = time.monotonic() + 60
        while not listens(port):
            assert time.monotonic() < end
            assert head.poll() is None
            time.sleep(0.2)
        nodes.append(node(f"--address={address}", "--node-ip-address=127.0.0.1"))
        yield address, nodes
    finally:
        for one in reversed(nodes):
            end_node(one)


def listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


def end_node(one: subprocess.Popen[bytes]) -> None:
    """End a node as the loss of its machine does: all its processes at once."""
    for pid in family(one.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    one.wait()


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    pairs = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.splitlines()
    below = [int(child) for child, parent in map(str.split, pairs) if int(parent) == pid]
    return [pid, *(one for child in below for one in family(child))]


@pytest.mark.slow
def test_a_cluster_of_its_own_does_as_many_runs_at_a_time_as_its_gpus_have_room_for(tmp_path):
    room = "hydra.launcher.init.num_gpus=1 hydra.launcher.remote.num_gpus=0.75"
    done = train(f"{SWEEP} seed=1,2,3 {room}", tmp_path, timeout=400, **environment())
    assert done.returncode == 0, done.stderr
    records = sorted(find_records(tmp_path / "out"), key=lambda record: record.started)
    assert [record.status for record in records] == ["finished"] * 3
    began = [datetime.fromisoformat(record.started).timestamp() for record in records]
    ended = [start + record.seconds.total for start, record in zip(began, records, strict=True)]
    # `started` has whole seconds.
    assert all(after > before - 1 for before, after in zip(ended, began[1:], strict=False))
    assert len(re.findall(r"accuracy \d", done.stdout)) == 3


class Held:
    """A sweep of runs that are held in their second step."""

    def __init__(self, place: Path, more: str) -> None:
        self.place = place
        self.process = begin(f"{SWEEP} {HELD} {more}", place, **environment())

    def until(self, held: int) -> None:
        """Wait until so many runs are held."""
        end = time.monotonic() + 400
        while len(list(self.place.glob("held-*"))) < held:
            assert self.process.poll() is None, self.process.communicate()
            if time.monotonic() > end:
                end_node(self.process)
                pytest.fail(f"{held} runs should have begun")
            time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_command_ends_it_and_its_processes(number, code, tmp_path):
    sweep = Held(tmp_path, "seed=1,2,3 hydra.launcher.init.num_cpus=2")
    sweep.until(held=2)
    begun = family(sweep.process.pid)
    sweep.process.send_signal(number)
    out, err = sweep.process.communicate(timeout=120)
    assert sweep.process.returncode == code
    assert err.splitlines()[-1] == "error: interrupted"
    statuses = {record.seed: record.status for record in find_records(tmp_path / "out")}
    assert sorted(statuses.values()) == ["interrupted"] * 2
    assert out.count("what is missing: python train.py resume=out") == 1
    assert all(f"! bitfit: seed {seed} interrupted: interrupted by a signal" in out for seed in statuses)
    assert not (tmp_path / "out" / ".outcomes").exists()
    end = time.monotonic() + 20
    while left := [pid for pid in begun if os.path.exists(f"/proc/{pid}")]:
        assert time.monotonic() < end, left
        time.sleep(0.2)


@pytest.mark.slow
def test_a_run_that_finds_no_memory_is_given_up(tmp_path):
    nearly_full = {"RAY_memory_monitor_refresh_ms": "100", "RAY_memory_usage_threshold": "0.01"}
    typed = f"{SWEEP} seed=1 hydra.launcher.remote.max_retries=1"
    done = train(typed, tmp_path, timeout=400, **environment() | nearly_full)
    assert done.returncode == 1, done.stderr
    assert "error: hydra/launcher: RuntimeError: no word from run 0 (OutOfMemoryError): killed" in done.stderr


@pytest.mark.slow
def test_the_run_of_a_node_that_is_killed_goes_on_elsewhere_from_its_checkpoint(cluster, tmp_path):
    address, nodes = cluster
    sweep = Held(tmp_path, f"seed=1,2 hydra.launcher.init.address={address} checkpoint.every_steps=1")
    sweep.until(held=2)
    there = family(nodes[1].pid)
    (lost,) = (seed for seed in (1, 2) if int((tmp_path / f"held-{seed}").read_text()) in there)
    end_node(nodes[1])
    (tmp_path / "go").touch()
    err = sweep.process.communicate(timeout=400)[1]
    assert sweep.process.returncode == 0, err
    records = {record.seed: record for record in find_records(tmp_path / "out")}
    assert {seed: (record.status, record.resumed) for seed, record in records.items()} == {
        lost: ("finished", 1),
        3 - lost: ("finished", 0),
    }
