"""A command launched from the warm process is the command launched from nothing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conftest import ROOT, kept_environment
from runs import SILENT, SMALL
from warm_python import warm_python

LOOKS_AROUND = """
import json, os, signal, sys
print(json.dumps({
    "argv": sys.argv, "original": sys.orig_argv, "path": sys.path, "folder": os.getcwd(), "file": __file__,
    "environment": dict(os.environ), "input": sys.stdin.read(), "name": __name__, "package": __package__,
    "signals": [str(signal.getsignal(number)) for number in (2, 15, 10)],
    "streams": [(s.encoding, s.errors, s.line_buffering, s.isatty()) for s in (sys.stdin, sys.stdout, sys.stderr)],
    "open": sorted(os.listdir("/proc/self/fd"))[:3],
}))
print("torch" in sys.modules, file=sys.stderr)
"""
WAYS = {"cold": [sys.executable], "warm": None}


def launched(way: str, *words: object, folder: Path, **more) -> subprocess.CompletedProcess[str]:
    command = [*(WAYS[way] or warm_python()), *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, **more)


@pytest.mark.parametrize("words", [["looks_around.py", "a", "-b=c d"], ["-m", "looks_around", "a"]])
@pytest.mark.parametrize("variables", [{}, {"PEFTLAB_CACHE": "there"}, {"PYTHONPATH": "put/before"}])
def test_a_program_sees_the_same_around_it(words, variables, tmp_path):
    (tmp_path / "looks_around.py").write_text(LOOKS_AROUND)
    if "PYTHONPATH" in variables:
        variables = {"PYTHONPATH": os.pathsep.join(["put/before", *filter(None, [os.environ.get("PYTHONPATH")])])}
    seen = {}
    for way in WAYS:
        done = launched(way, *words, folder=tmp_path, input="typed", env={**os.environ, **variables})
        assert done.returncode == 0, done.stderr
        seen[way] = json.loads(done.stdout)
        assert done.stderr == f"{way == 'warm'}\n"
    added = seen["warm"]["environment"].keys() - seen["cold"]["environment"].keys()
    for name in added:  # by a library, when it is imported
        del seen["warm"]["environment"][name]
    assert seen["warm"] == seen["cold"]


@pytest.mark.parametrize(
    "variables", [{"OMP_NUM_THREADS": "2"}, {"HF_HUB_OFFLINE": "1"}, {"PYTHONPATH": "elsewhere"}, {"PYTHONUTF8": "1"}]
)
def test_another_environment_than_what_was_imported_under_is_a_new_interpreter(variables, tmp_path):
    if "PYTHONPATH" in variables and not os.environ.get("PYTHONPATH"):
        pytest.skip("there is no PYTHONPATH that another one could leave out: folders are only put before it")
    (tmp_path / "looks_around.py").write_text(LOOKS_AROUND)
    done = launched("warm", "looks_around.py", folder=tmp_path, input="", env={**os.environ, **variables})
    assert done.stderr == "False\n"


def test_what_a_test_left_in_the_environment_makes_no_later_command_a_new_interpreter(tmp_path):
    (tmp_path / "looks_around.py").write_text(LOOKS_AROUND)
    before = dict(os.environ)
    with kept_environment():
        os.environ["WANDB_SERVICE"] = os.environ["HOME"] = "left"
        del os.environ["PATH"]
    assert dict(os.environ) == before
    assert launched("warm", "looks_around.py", folder=tmp_path, input="").stderr == "True\n"


@pytest.mark.parametrize(
    "ends",
    [
        "sys.exit()",
        "sys.exit(3)",
        "sys.exit('a reason')",
        "1 / 0",
        "os.kill(os.getpid(), signal.SIGKILL)",
        "os.kill(os.getpid(), signal.SIGTERM)",
        "raise KeyboardInterrupt",
        "atexit.register(print, 'at last'); threading.Timer(0.1, print, ['later']).start()",
    ],
)
def test_a_program_ends_the_same(ends, tmp_path):
    (tmp_path / "ends.py").write_text(f"import atexit, os, signal, sys, threading\n{ends}\n")
    warm, cold = (launched(way, "ends.py", folder=tmp_path) for way in WAYS)
    assert (warm.returncode, warm.stdout) == (cold.returncode, cold.stdout)
    assert warm.stderr.splitlines()[-1:] == cold.stderr.splitlines()[-1:]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL])
def test_a_signal_reaches_the_program(number, tmp_path, request):
    if signal.getsignal(number) == signal.SIG_IGN:  # in the background of a shell, and then for all that is started
        signal.signal(number, signal.SIG_DFL)
        request.addfinalizer(lambda: signal.signal(number, signal.SIG_IGN))
    (tmp_path / "waits.py").write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n")
    with subprocess.Popen([*warm_python(), "waits.py"], cwd=tmp_path, stdout=-1, stderr=-1, text=True) as started:
        waiting = int(started.stdout.readline())
        assert waiting != started.pid
        started.send_signal(number)
        started.communicate(timeout=60)  # ends only when the program, too, has let go of the pipes
    assert started.returncode == -number
    until = time.monotonic() + 60
    while Path(f"/proc/{waiting}").exists():
        assert time.monotonic() < until
        time.sleep(0.01)


# A sweep whose second run fails, and a mistake that no run begins with.
COMMANDS = [
    f"+strategy=hifi strategy.n=12 task=demo {SMALL} {SILENT} training.learning_rate=0.01,1e30 hydra.sweep.dir=out -m",
    "+strategy=hfi",
]
OWN = {"started", "seconds", "throughput", "memory", "deployment", "folder"}


def told(folder: Path) -> dict[str, object]:
    """Return what the records below a folder say but for what is a run's own: when, how long, how much memory."""
    texts = {path.relative_to(folder): json.loads(path.read_text()) for path in folder.rglob("result.json")}
    return {str(path): {k: v for k, v in facts.items() if k not in OWN} for path, facts in texts.items()}


@pytest.mark.slow
@pytest.mark.parametrize("arguments", COMMANDS)
def test_a_command_gives_the_same_records_bytes_and_exit_code(arguments, tmp_path):
    done = {}
    for way in WAYS:
        (tmp_path / way).mkdir()
        done[way] = launched(
            way, ROOT / "train.py", *arguments.split(), folder=tmp_path / way, env={**os.environ, "PEFTLAB_CACHE": "no"}
        )
    assert done["warm"].returncode == done["cold"].returncode
    assert done["warm"].stderr.replace("/warm", "/cold") == done["cold"].stderr
    assert told(tmp_path / "warm") == told(tmp_path / "cold")
    deltas = [[path.read_bytes() for path in sorted((tmp_path / way).rglob("delta.safetensors"))] for way in WAYS]
    assert deltas[0] == deltas[1]
