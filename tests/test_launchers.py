"""A sweep ends alike whichever launcher carries its runs: the table, the exit code, the failures by name.

Every command here is typed in a process of its own, and joblib's launcher begins two more. `make test-engines` installs
submitit's.
"""

import re
import signal
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from peftlab.results.found import find_records
from runs import SILENT, SMALL, begin, carried_environment, train
from warm_python import warm_python

pytest.importorskip("hydra_plugins.hydra_joblib_launcher")

LAUNCHERS = {"basic": "", "joblib": "hydra/launcher=joblib hydra.launcher.n_jobs=2"}
if find_spec("hydra_plugins.hydra_submitit_launcher"):
    LAUNCHERS["submitit_local"] = "hydra/launcher=submitit_local"
FAILING = "+hydra.callbacks.fail._target_=failing_jobs.Fail +hydra.callbacks.fail.rate=0.03 +hydra.callbacks.fail.how="
# How one of four runs fails: what is added to the command, the failing rate, the exit code, the reason that is told.
FAILURES = {
    "a user's mistake": ("", "1e30", 2, "training: the loss is nan at step 2"),
    "a crash": (f"{FAILING}crash", "0.03", 1, "RuntimeError: out of memory"),
}


@pytest.fixture
def place(tmp_path: Path, glue: Path) -> Path:
    """A folder to type commands in, with a made-up RTE."""
    (tmp_path / "glue").symlink_to(glue)
    return tmp_path


def sweep(rates: str, launcher: str, more: str = "") -> str:
    settings = f"+strategy=bitfit task=rte data.root=glue {SMALL} {SILENT} {LAUNCHERS[launcher]} {more}"
    return " ".join(f"{settings} training.learning_rate={rates} hydra.sweep.dir=out -m".split())


def told(stdout: str) -> str:
    """Return what a command printed when its sweep had ended, without the seconds and bytes, which are a run's own."""
    lines = [re.sub(r" +", " ", line) for line in stdout.splitlines() if not line.startswith("[")]
    rows = [re.sub(r"(0\.00) [\d,]+ [\d,]+ *$", r"\1", line).strip(" ─") for line in lines]
    return "\n".join(row for row in rows if row)


@pytest.mark.slow
@pytest.mark.parametrize("failure", FAILURES)
def test_one_run_of_four_fails_and_every_launcher_tells_the_same(failure, place, tmp_path_factory):
    more, rate, code, reason = FAILURES[failure]
    printed = {}
    for launcher in LAUNCHERS:
        folder = place if launcher == "basic" else tmp_path_factory.mktemp(launcher)
        if folder != place:
            (folder / "glue").symlink_to(place / "glue")
        typed = sweep(f"0.01,0.02,{rate},0.04", launcher, more)
        done = train(typed, folder, **carried_environment())
        assert done.returncode == code, done.stderr
        said = "".join(path.read_text() for path in folder.glob("out/.submitit/*/*_log.err"))
        assert (done.stderr + said).count(reason.partition(":")[0]) >= 1
        records = find_records(folder / "out")
        assert sorted(record.status for record in records) == ["failed", "finished", "finished", "finished"]
        words = ["train.py", "-m", *typed.removesuffix(" -m").split()]
        assert {tuple(record.command) for record in records} == {tuple(words)}
        assert not (folder / "out" / ".outcomes").exists()
        printed[launcher] = told(done.stdout)
    table = printed["basic"]
    assert printed == dict.fromkeys(LAUNCHERS, table)
    assert len(re.findall(r"^bitfit learning_rate=0\.\d+ \d+\.\d ± n/a[*†‡]* \d+\.\d 1 640 ", table, re.MULTILINE)) == 3
    failing = "1e\\+30" if rate == "1e30" else rate
    assert re.search(rf"^! bitfit learning_rate={failing}: seed 1 failed: {reason}", table, re.MULTILINE)
    assert "what is missing: python train.py resume=out" in table


@pytest.mark.slow
def test_joblib_s_processes_may_have_loaders_of_their_own(place):
    typed = sweep("0.01,0.02", "joblib", "data.num_workers=1")
    done = train(typed, place, **carried_environment())
    assert done.returncode == 0, done.stderr
    assert [record.status for record in find_records(place / "out")] == ["finished", "finished"]


@pytest.mark.slow
def test_a_run_whose_process_is_killed_is_named_and_the_same_command_does_it(place):
    typed = sweep("0.01,0.03", "joblib", f"{FAILING}killed")
    done = train(typed, place, **carried_environment())
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "hydra/launcher: TerminatedWorkerError: " in line
    assert "Traceback" not in done.stderr
    assert re.search(r"^! bitfit learning_rate=0.03: seed 1 has not finished", done.stdout, re.MULTILINE)
    assert "what is missing: python train.py resume=out" in done.stdout
    assert train("resume=out", place, **carried_environment()).returncode == 0
    assert [record.status for record in find_records(place / "out")] == ["finished", "finished"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_command_ends_it_and_its_processes(number, code, place):
    typed = sweep("0.03,0.03", "joblib", f"{FAILING}slow").replace("0.03,0.03", "0.03 seed=1,2")
    process = begin(typed, place, warm_python(), **carried_environment())
    until = time.monotonic() + 120
    while len(list(place.glob("out/*/metrics.csv"))) + len(list(place.glob("out/*/result.json"))) < 2:
        assert time.monotonic() < until
        time.sleep(0.1)
    time.sleep(1)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)  # ends only when no process holds the other end of these pipes
    assert process.returncode == code
    *warnings, last = err.splitlines()
    assert last == "error: interrupted"
    assert all(line.startswith("warning: ") for line in warnings)
    assert "what is missing: python train.py resume=out" in out
