"""An engine that fails before a run has begun ends its command as others do: a line, the exit code, what is missing.

Slurm's commands are stood for by scripts here, so that the cases need no Slurm.
"""

import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from runs import SILENT, SMALL, carried_environment, train

SWEEP = f"+strategy=bitfit task=demo {SMALL} {SILENT} training.learning_rate=0.03 seed=1,2 hydra.sweep.dir=out -m"
KILLED = "+hydra.callbacks.fail._target_=failing_jobs.Fail +hydra.callbacks.fail.rate=0.03 +hydra.callbacks.fail.how="
KILLED += "unbegun"
JOBLIB, LOCAL, SLURM, RAY = (f"hydra/launcher={name}" for name in ("joblib", "submitit_local", "slurm", "ray"))
NEEDS = {JOBLIB: "hydra_plugins.hydra_joblib_launcher", LOCAL: "hydra_plugins.hydra_submitit_launcher"}
NEEDS |= {SLURM: "submitit", RAY: "ray"}
REFUSING = "echo 'sbatch: error: invalid partition specified: nowhere' >&2; exit 1"
# The launcher, what is typed besides, Slurm's commands on this machine, the exit code, the line.
CASES = [
    (JOBLIB, f"hydra.launcher.n_jobs=2 {KILLED}", {}, 1, "hydra/launcher: TerminatedWorkerError: A worker process .*"),
    (LOCAL, KILLED, {}, 1, "hydra/launcher: .*"),
    (SLURM, "", {}, 2, "hydra/launcher=slurm: this machine has no sbatch; .*"),
    (
        SLURM,
        "hydra.launcher.partition=nowhere",
        {"sbatch": REFUSING, "srun": ""},
        2,
        "hydra/launcher=slurm: sbatch: error: invalid partition specified: nowhere",
    ),
    (
        SLURM,
        "",
        {"sbatch": "echo Submitted batch job 7", "srun": "", "squeue": ""},
        1,
        "hydra/launcher: RuntimeError: no word from job 7_0, job 7_1: killed, or never began; see .*",
    ),
    (RAY, "hydra.launcher.init.address=127.0.0.1:1", {}, 2, "hydra.launcher.init.address=127.0.0.1:1: .*"),
    (
        RAY,
        f"hydra.launcher.remote.max_retries=0 {KILLED}",
        {},
        1,
        "hydra/launcher: RuntimeError: no word from run 0 .*, run 1 .*",
    ),
]


def tools(folder: Path, scripts: dict[str, str]) -> str:
    """Return a PATH with these commands, and the shell's own, but without Slurm's."""
    folder.mkdir()
    for name in ("sh", "echo", "cat", "ps", "git", "env"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return str(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "more", "scripts", "code", "line"), CASES)
def test_what_is_wrong_stands_in_one_line_and_the_runs_are_missing(launcher, more, scripts, code, line, tmp_path):
    if not find_spec(NEEDS[launcher].partition(".")[0]) or not find_spec(NEEDS[launcher]):
        pytest.skip(f"{NEEDS[launcher]} is not installed: make test-engines")
    environment = carried_environment() | {"RAY_worker_niceness": "0", "RAY_memory_monitor_refresh_ms": "0"}
    if launcher == SLURM:
        environment["PATH"] = tools(tmp_path / "bin", scripts)
    done = train(f"{SWEEP} {launcher} {more}", tmp_path, timeout=300, **environment)
    assert done.returncode == code, done.stderr
    assert [text for text in done.stderr.splitlines() if re.fullmatch(f"error: {line}", text)], done.stderr
    assert "Traceback" not in done.stderr
    *_, waiting = [text for text in done.stdout.splitlines() if "have not begun" in text]
    assert waiting == "2 of 2 have not begun"
    kept = os.path.exists(tmp_path / "out")
    assert ("what is missing: python train.py resume=out" in done.stdout.splitlines()) == kept
    assert kept or code == 2
    assert not (tmp_path / "out" / ".outcomes").exists()
