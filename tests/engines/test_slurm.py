"""`hydra/launcher=slurm` on a Slurm of this machine: its own controller, two nodes, and one partition above the other.

`make test-engines` installs submitit; Slurm itself is the system's (`apt-get install slurm-wlm munge`, half a minute).
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import ROOT
from peftlab.results.found import find_records
from peftlab.results.record import RunRecord
from runs import SILENT, SMALL, begin, carried_environment

pytest.importorskip("submitit", reason="the extra slurm is not installed: make test-engines")
HERE = ROOT / "bench" / "slurm_here.sh"
HELD = "+hydra.callbacks.held._target_=engines.held_jobs.Held"
# Of a record, what no two attempts share.
OWN = ("seconds", "throughput", "memory", "started", "command", "resumed", "folder")


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a process that speaks to a Slurm of this machine."""
    if not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))) or os.geteuid():
        pytest.skip("Slurm is not installed, or the tests are not root: apt-get install slurm-wlm munge")
    folder = tmp_path_factory.mktemp("slurm")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    subprocess.run(["sh", HERE, "start", folder], check=True, env={**os.environ, "PORT": str(port)}, timeout=60)
    yield {**carried_environment(), "SLURM_CONF": str(folder / "slurm.conf")}
    subprocess.run(["sh", HERE, "stop", folder], check=True, timeout=60)


class Sweep:
    """A sweep of two runs of four steps into the folder `name`, typed in `place`."""

    def __init__(self, place: Path, environment: dict[str, str], launcher: str, name: str = "out") -> None:
        self.place, self.environment = place, environment
        steps = "trainer.max_steps=4 checkpoint.every_epoch=false"
        arguments = f"+strategy=bitfit task=demo {SMALL} {SILENT} {steps} hydra.sweep.dir={name} {launcher} -m seed=1,2"
        self.process = begin(arguments, place, **environment)

    def until(self, holds: Callable[[], object]) -> None:
        end = time.monotonic() + 120
        while not holds():
            assert time.monotonic() < end
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.2)

    def ask(self, *command: str) -> str:
        done = subprocess.run(
            command, env={**os.environ, **self.environment}, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def job(self, seed: int) -> str:
        """Return the number of a run's job."""
        array = min(path.name.partition("_")[0] for path in self.place.glob("out/.slurm/*_submitted.pkl"))
        return f"{array}_{seed - 1}"

    def ended(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=180)
        return self.process.returncode, out, err


def told(out: str) -> list[str]:
    """Return the lines of the table's rows, without the seconds and bytes, which are a run's own."""
    return [re.sub(r"(0\.00) .*", r"\1", line) for line in out.splitlines() if "±" in line]


def bare(record: RunRecord) -> dict[str, object]:
    return {name: value for name, value in vars(record).items() if name not in OWN}


@pytest.mark.slow
def test_a_preempted_run_and_one_at_its_time_limit_end_as_if_nothing_had_happened(slurm, tmp_path):
    calm = Sweep(tmp_path, slurm, "", "calm").ended()
    sweep = Sweep(tmp_path, slurm, f"hydra/launcher=slurm {HELD}")
    sweep.until(lambda: len(list(tmp_path.glob("held-*"))) == 2)
    # SIGUSR2 is what a job gets before its time limit; the partition above takes the other one's node.
    sweep.ask("scancel", "--signal=USR2", sweep.job(seed=2))
    node = sweep.ask("squeue", "--noheader", "--format=%N", f"--jobs={sweep.job(seed=1)}")
    sweep.ask("sbatch", "--partition=high", f"--nodelist={node}", "--output=/dev/null", "--wrap=true")
    code, out, err = sweep.ended()
    assert (code, calm[0]) == (0, 0), err
    assert told(out) == told(calm[1])
    for record in find_records(tmp_path / "out"):
        same = RunRecord.read(tmp_path / "calm" / record.folder.name)
        assert (record.status, record.resumed) == ("finished", 1)
        assert bare(record) == bare(same)
        files = [one.folder / "delta.safetensors" for one in (record, same)]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.slow
def test_a_cancelled_run_is_not_begun_again_and_a_killed_one_is_named(slurm, tmp_path):
    sweep = Sweep(tmp_path, slurm, f"hydra/launcher=slurm {HELD}")
    sweep.until(lambda: len(list(tmp_path.glob("held-*"))) == 2)
    os.kill(int((tmp_path / "held-2").read_text()), signal.SIGKILL)
    sweep.ask("scancel", sweep.job(seed=1))
    code, out, err = sweep.ended()
    assert code == 1
    assert f"error: hydra/launcher: RuntimeError: no word from job {sweep.job(seed=2)}: killed" in err
    assert "! bitfit: seed 1 interrupted: interrupted by a signal" in out
    assert "! bitfit: seed 2 has not finished" in out
    assert "what is missing: python train.py resume=out" in out
    assert (next(tmp_path.glob("out/*seed1*")) / "checkpoints" / "last.safetensors").exists()
