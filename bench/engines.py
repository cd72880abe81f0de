"""`python -m bench.engines [ENGINE ...] [--runs 50] [--kills 8] [--seed 1]`: sweeps whose engines are killed in part.

Each engine carries the same sweep of small runs while parts of it are killed at random moments (SIGKILL). A command
that was killed or failed is typed again, as a queue would. What is counted stands in the runs' folders: how many have a
result, how many of these were made twice, how many are lost. `docs/results/engines.md` keeps the numbers.

A new engine is a line of `ENGINES`.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.commands import QUIET, ROOT
from bench.machines import on_machine
from bench.report import RESULTS
from peftlab.files import write_text_atomic
from peftlab.results.found import find_records

RUN = f"+strategy=bitfit task=demo backbone=tiny trainer=cpu trainer.max_steps=100 checkpoint.every_steps=10 {QUIET}"
LEASE = 10.0  # seconds until another machine's run is taken over
PAUSE = (12.0, 36.0)  # seconds between two kills
# Of the environment. Ray would itself kill runs where other programs have nearly filled the memory.
ALONE = {"OMP_NUM_THREADS": "1", "RAY_memory_monitor_refresh_ms": "0"}
FAILURES = 5  # of a command that nobody has killed, until the engine is given up
_HEADER = """# Engines

`python -m bench.engines` writes this page: a sweep of small runs on each engine, parts of which are killed (SIGKILL) at
random moments, 12 to 36 seconds apart. A command that was killed or failed is typed again. `made twice` counts results
that were made again although there was one; `resumed` how often a run went on from the checkpoint of a killed process.

`pool` is the same command typed three times, on two machines with a disk that knows no `flock` and exchanges no two
names, as NFS (a preloaded library makes this machine two); each command ends with its own table, which must be one.

"""
_COLUMNS = ["engine", "runs", "done", "lost", "made twice", "kills", "resumed", "typed", "tables", "seconds"]


def children(process: int) -> list[int]:
    """Return the processes of Python that a process has begun."""
    found = Path(f"/proc/{process}/task/{process}/children")
    pids = [int(pid) for pid in found.read_text().split()] if found.exists() else []
    return [pid for pid in pids if b"python" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def of_ray(process: int) -> list[int]:
    """Return Ray's processes that are at work on a run of a command: they are below its own, at any depth."""
    found = Path(f"/proc/{process}/task/{process}/children")
    pids = found.read_text().split() if found.exists() else []
    # Ray names a process after the task that it is at.
    working = [int(pid) for pid in pids if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::run")]
    return [*working, *(one for pid in pids for one in of_ray(int(pid)))]


def of_slurm(process: int) -> list[int]:
    """Return the processes of the jobs of a command: they are Slurm's children, and name the sweep's folder."""
    folder = os.fsencode(os.readlink(f"/proc/{process}/cwd"))
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"python" in words[0] and b"submitit.core._submit" in words and folder in words[-2]:
                found.append(int(path.parent.name))
    return found


@contextmanager
def slurm_here() -> Iterator[str]:
    """Let there be a Slurm of this machine, for root."""
    script = str(ROOT / "bench" / "slurm_here.sh")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["sh", script, "start", folder], check=True)
        os.environ["SLURM_CONF"] = f"{folder}/slurm.conf"
        try:
            yield ""
        finally:
            subprocess.run(["sh", script, "stop", folder], check=True)


def itself(process: int) -> list[int]:
    """Return the process alone."""
    return [process]


@dataclass(frozen=True)
class Engine:
    """How a sweep is carried.

    Attributes:
        options: what is typed besides.
        machines: the names of the hosts on which the command is typed, once each; an empty one is this machine.
        victims: which processes may be killed, given that of a command.
        setting: what is set up around the sweep; gives what is typed besides.
    """

    options: str = ""
    machines: tuple[str, ...] = ("",)
    victims: Callable[[int], list[int]] = itself
    setting: Callable[[], AbstractContextManager[str]] = lambda: nullcontext("")


ENGINES = {
    "basic": Engine(),
    "pool": Engine(machines=("node1", "node2", "node2")),
    "joblib": Engine("hydra/launcher=joblib hydra.launcher.n_jobs=2", victims=children),
    "slurm": Engine("hydra/launcher=slurm", victims=of_slurm, setting=slurm_here),
    "ray": Engine("hydra/launcher=ray hydra.launcher.init.num_cpus=2", victims=of_ray),
}


@dataclass
class Counts:
    """What became of a sweep; `typed` counts how often a command was begun, `tables` how many different ones came."""

    runs: int
    done: int = 0
    twice: int = 0
    kills: int = 0
    resumed: int = 0
    typed: int = 0
    tables: int = 0
    seconds: float = 0.0

    def cells(self, engine: str) -> list[str]:
        """Return the cells of the engine's row."""
        lost = self.runs - self.done
        counts = [self.runs, self.done, lost, self.twice, self.kills, self.resumed, self.typed, self.tables]
        return [engine, *map(str, counts), f"{self.seconds:.0f}"]


@dataclass
class Commands:
    """The commands of an engine in one folder: begun, killed in part, and typed again."""

    engine: Engine
    folder: Path
    typed: str
    begun: int = 0
    living: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    def begin(self, number: int) -> None:
        """Type the command of a machine."""
        machine = self.engine.machines[number]
        environment = on_machine(machine, LEASE) if machine else {**os.environ, "PEFTLAB_LEASE": str(LEASE)}
        self.begun += 1
        with self._output(number).open("wb") as output:
            self.living[number] = subprocess.Popen(
                [sys.executable, str(ROOT / "train.py"), *self.typed.split()],
                cwd=self.folder,
                env={**environment, **ALONE, "PEFTLAB_CACHE": str(self.folder / "cache")},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def strike(self, draw: random.Random) -> bool:
        """Kill a part; return whether there was one."""
        victims = [pid for process in self.living.values() for pid in self.engine.victims(process.pid)]
        if victims:
            with suppress(ProcessLookupError):
                os.kill(draw.choice(victims), signal.SIGKILL)
        return bool(victims)

    def look(self, most: int) -> None:
        """Type those again that have ended before all was done, `most` commands in all."""
        for number, process in list(self.living.items()):
            if process.poll() is not None:
                del self.living[number]
                if process.returncode and self.begun < most:
                    self.begin(number)

    def tables(self) -> set[str]:
        """Return the different tables that the commands printed at their ends."""
        printed = [self._output(number).read_text() for number in range(len(self.engine.machines))]
        return {"\n".join(re.findall(r"^ *bitfit .*$", text, re.MULTILINE)) for text in printed}

    def _output(self, number: int) -> Path:
        return self.folder / f"printed-{number}.txt"


def carry(engine: Engine, runs: int, kills: int, draw: random.Random) -> Counts:
    """Let an engine carry a sweep while parts of it are killed; return what became of it."""
    counts, begun = Counts(runs), time.monotonic()
    with tempfile.TemporaryDirectory() as name, engine.setting() as more:
        folder, seeds = Path(name), ",".join(map(str, range(1, runs + 1)))
        commands = Commands(engine, folder, f"{RUN} {engine.options} {more} seed={seeds} hydra.sweep.dir=sweep -m")
        for number in range(len(engine.machines)):
            commands.begin(number)
        strike = time.monotonic() + draw.uniform(*PAUSE)
        while commands.living:
            if counts.kills < kills and time.monotonic() >= strike:
                counts.kills += commands.strike(draw)
                strike = time.monotonic() + draw.uniform(*PAUSE)
            time.sleep(0.2)
            commands.look(most=len(engine.machines) + counts.kills + FAILURES)
        records = find_records(folder / "sweep")
        counts.done = len({record.seed for record in records if record.status == "finished"})
        counts.twice = len(list((folder / "sweep").glob("*/result-*.json")))
        counts.resumed = sum(record.resumed for record in records)
        counts.typed, counts.tables = commands.begun, len(commands.tables())
    counts.seconds = time.monotonic() - begun
    return counts


def publish(folder: Path = RESULTS) -> None:
    """Write the page from all that is kept."""
    kept = sorted((folder / "engines").glob("*.json"))
    rows = [Counts(**json.loads(path.read_text())).cells(path.stem) for path in kept]
    lines = ["| " + " | ".join(cells) + " |\n" for cells in (_COLUMNS, ["---"] * len(_COLUMNS), *rows)]
    write_text_atomic(folder / "engines.md", "".join([_HEADER, *lines]))


def main() -> None:
    """Measure the engines that are named, and publish."""
    parser = argparse.ArgumentParser(description="Kill parts of engines and count the runs")
    parser.add_argument("engines", nargs="*", default=[*ENGINES], metavar="ENGINE", help=", ".join(ENGINES))
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for name in given.engines:
        counts = carry(ENGINES[name], given.runs, given.kills, random.Random(given.seed))
        print(dict(zip(_COLUMNS, counts.cells(name), strict=True)), flush=True)
        write_text_atomic(RESULTS / "engines" / f"{name}.json", json.dumps(asdict(counts)) + "\n")
    publish()


if __name__ == "__main__":
    main()
