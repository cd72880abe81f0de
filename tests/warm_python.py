"""A Python that has imported what our commands import: a launch costs its own work, not six seconds of imports.

`[*warm_python(), "train.py", ...]` is used as `[sys.executable, "train.py", ...]` is, with `subprocess` as it stands.
Three processes work together. The client is what a test starts: it hands its folder, environment, arguments and
standard streams over, passes signals on, and ends as the command ends. The server has imported everything and computed
nothing, so it has one thread and may fork. It forks a keeper for each client, and the keeper the command itself, which
dies with its client.

Where a fork would not be what a new interpreter is, the client becomes a new interpreter: another variable of the
environment than those in LATE differs from the server's (libraries may have read it on import), output goes to a
terminal, the system is not Linux. A test whose promise is about the start itself (what is imported, how long it takes,
another hash seed) starts `sys.executable`. All commands of a server share the seed of Python's hashes.
"""

import atexit
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
import types
from pathlib import Path
from typing import Any, NoReturn

# Read when they are needed, by our own code or by nobody, never on import.
LATE = {
    *("_", "COLUMNS", "COMP_LINE", "COMP_POINT", "HYDRA_FULL_ERROR", "LINES", "OLDPWD", "PEFTLAB_CACHE"),
    *("PEFTLAB_DEBUG", "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "PWD", "PYTEST_CURRENT_TEST"),
}
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
LONGEST = 200_000  # bytes of a request: Linux takes no longer message
# What a command imports only once it runs, and so none has to.
LIBRARIES = (
    "matplotlib.pyplot",
    "peft",
    "transformers.models.bert.modeling_bert",
    "transformers.models.roberta.modeling_roberta",
    "peftlab.run",
    "peftlab.results.table",
)
ROOMS = ("peftlab.backbones.architectures", "peftlab.heads", "peftlab.strategies", "peftlab.tasks.kinds")
FORKS_WELL = "jemalloc_bg_thd"  # pyarrow's allocator, which stops it before a fork and has it again after
WARM = b"warm"


def warm_python(**environment: str) -> list[str]:
    """Return the words that stand for `sys.executable`.

    Args:
        environment: what a file of tests sets for all its commands, and libraries read on import. It has a server of
            its own.
    """
    if not hasattr(os, "pidfd_open"):
        return [sys.executable]
    return [sys.executable, "-I", "-S", __file__, "start", _server(tuple(environment.items()))[0]]


@functools.cache
def _server(changed: tuple[tuple[str, str], ...]) -> tuple[str, subprocess.Popen[bytes]]:
    """Start a server of this process; return its address and it, which lives as long as its standard input."""
    address = str(Path(tempfile.mkdtemp(prefix="warm-"), "socket"))
    return address, subprocess.Popen(
        [sys.executable, __file__, "serve", address],
        env={**os.environ, **dict(changed)},  # without what readline has set behind Python's back
        stdin=subprocess.PIPE,
        # Never read: Python's streams are those of pipes, as its commands' are.
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def start(address: str, words: list[str]) -> None:
    """Have the server run `python WORDS`, and end as that ends; or become `python WORDS`."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # they wait for one who takes them
    if os.isatty(1) or os.isatty(2) or not _handed_over(words, server, address):
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.execv(sys.executable, [sys.executable, *words])
    for number in PASSED_ON:
        signal.signal(number, lambda received, frame: server.send(bytes([received])))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    answer = server.recv(16)
    status = int(answer) if answer else signal.SIGKILL
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number != signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status))


def _handed_over(words: list[str], server: socket.socket, address: str) -> bool:
    """Return whether the server runs the command, which it does where that is what a new interpreter would do."""
    request = {
        "words": words,
        "folder": os.getcwd(),
        "environment": dict(os.environ),
        "ignored": [number for number in PASSED_ON if signal.getsignal(number) is signal.SIG_IGN],
    }
    message = json.dumps(request).encode()
    try:
        for _ in range(500):  # what listens comes with the server's start, before it imports
            if os.path.exists(address):
                break
            select.select([], [], [], 0.01)
        server.connect(address)
        socket.send_fds(server, [message], [0, 1, 2])
        return server.recv(16) == WARM
    except OSError:
        return False


def serve(address: str) -> None:
    """Import everything, and fork for each client until standard input ends."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(address)
    listener.listen()
    environment = dict(os.environ)
    quiet = _import_all()
    added = {name: value for name, value in os.environ.items() if name not in environment}
    if set(_threads()) - {FORKS_WELL}:
        return  # a fork has one thread, and may wait for what the others hold
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a keeper ends
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            shutil.rmtree(Path(address).parent)
            return
        client, _ = listener.accept()
        if not os.fork():
            listener.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            request = _keep(client, environment, quiet)
            client.close()
            run(request, added)
        client.close()


def _threads() -> list[str]:
    """Return the names of this process's threads but the main one, whichever library began them."""
    tasks = Path("/proc/self/task")
    return [(task / "comm").read_text().strip() for task in tasks.iterdir() if int(task.name) != os.getpid()]


def _import_all() -> dict[str, str]:
    """Import what commands import, and read the code that their ids are of; choose, draw and compute nothing.

    Returns:
        The variables that each command sets, unless its user has, before it imports the same.
    """
    gc.disable()  # as our commands do
    from peftlab.console import COMMANDS
    from peftlab.job import quiet_libraries

    before = set(os.environ)
    quiet_libraries()
    quiet = {name: os.environ[name] for name in set(os.environ) - before}
    from peftlab.identity import code_version

    rooms = [importlib.import_module(room) for room in ROOMS]
    modules = [found.name for room in rooms for found in pkgutil.iter_modules(room.__path__, f"{room.__name__}.")]
    for name in (*LIBRARIES, *modules):
        importlib.import_module(name)
    for command in COMMANDS.values():
        importlib.import_module(command.module)
    code_version([])
    for name in quiet:
        del os.environ[name]
    gc.freeze()
    gc.enable()
    return quiet


def _keep(client: socket.socket, environment: dict[str, str], quiet: dict[str, str]) -> dict[str, Any]:
    """Fork the command and return its request there; in the keeper wait for its end, and never return."""
    message, descriptors, _, _ = socket.recv_fds(client, LONGEST, 3)
    request = json.loads(message)
    if not _fits({**quiet, **request["environment"]}, {**quiet, **environment}):
        os._exit(0)
    command = os.fork()
    if not command:
        for place, descriptor in enumerate(descriptors):
            os.dup2(descriptor, place)
            os.close(descriptor)
        return request
    for descriptor in descriptors:
        os.close(descriptor)
    client.send(WARM)
    ended = os.pidfd_open(command)
    while True:
        ready, _, _ = select.select([client, ended], [], [])
        if ended in ready:
            client.send(str(os.waitpid(command, 0)[1]).encode())
            os._exit(0)
        number = client.recv(1)
        os.kill(command, number[0] if number else signal.SIGKILL)
        if not number:
            os.waitpid(command, 0)
            os._exit(0)


def _fits(asked: dict[str, str], environment: dict[str, str]) -> bool:
    """Return whether libraries imported under the server's environment are as they would be under the one asked for.

    Folders may stand before the server's PYTHONPATH: what has been imported comes from later ones.
    """
    differing = {name for name in asked.keys() | environment.keys() if asked.get(name) != environment.get(name)}
    return differing - LATE <= {"PYTHONPATH"} and _path(asked).endswith(_path(environment))


def _path(environment: dict[str, str]) -> str:
    folders = environment.get("PYTHONPATH", "")
    return os.pathsep + folders if folders else ""


def run(request: dict[str, Any], added: dict[str, str]) -> NoReturn:
    """Run `python WORDS` in this process, and end it, as the interpreter does."""
    os.setpgid(0, 0)  # signals to a whole group come through the client, and once
    for number in PASSED_ON:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else usual)
    os.chdir(request["folder"])
    ours = _path(dict(os.environ))
    os.environ.clear()
    os.environ.update(added | request["environment"])
    before = _path(request["environment"]).removesuffix(ours).split(os.pathsep)[1:]
    sys.path[1:1] = [os.path.abspath(folder) for folder in before]
    sys.orig_argv = [sys.executable, *request["words"]]
    code: object = None
    try:
        _run(request["words"])
    except SystemExit as end:
        code = end.code
    except KeyboardInterrupt:
        traceback.print_exc()
        code = -signal.SIGINT
    except BaseException:
        traceback.print_exc()
        code = 1
    _end(code)


def _run(words: list[str]) -> None:
    first, *arguments = words
    if first == "-m":
        sys.path[0] = os.getcwd()
        sys.argv = arguments
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        file = os.path.abspath(first)
        sys.path[0] = os.path.dirname(file)
        sys.argv = words
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        main.__file__ = file
        exec(compile(Path(file).read_bytes(), file, "exec"), vars(main))


def _end(code: object) -> NoReturn:
    """End with an exit code as the interpreter does, but leave all objects to the system: that saves half a second."""
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    if code == -signal.SIGINT:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit((code or 0) & 255)


if __name__ == "__main__":
    role, where, *rest = sys.argv[1:]
    if role == "serve":
        serve(where)
    else:
        start(where, rest)
