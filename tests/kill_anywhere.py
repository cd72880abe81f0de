"""`python tests/kill_anywhere.py [KILLS] [SEED]`: kill runs at random moments, start them again, compare bit for bit.

Each strategy is run once undisturbed; then again and again in a fresh process that is killed (SIGKILL) after a random
share of that run's processor time, which does not depend on what else the machine does, and started with the same
configuration and folder until it ends. A strategy's kills are spread: one at random in each equal part of its time,
most of them after its first checkpoint. A run that trains in phases is also killed in the midst of exchanging its
parameters. The record's facts, the delta, the selection and the log must be those of the undisturbed run. Prints a line
a kill and the count; ends with code 1 when anything differs. Processes are forked, so that a second goes into the run
and not into importing.
"""

import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests"), str(ROOT / "tests" / "training")]

from test_resumption import outcome  # noqa: E402

from peftlab.results.record import RunRecord  # noqa: E402
from peftlab.run import run  # noqa: E402
from peftlab.strategies.diff_pruning import DiffPruning  # noqa: E402
from peftlab.training.checkpoint_files import read_checkpoint  # noqa: E402
from peftlab.training.resumption import FILE_NAME, FOLDER  # noqa: E402
from runs import small, write_rte  # noqa: E402

CASES = {
    "hifi": ("hifi", ""),
    "lora": ("lora", ""),
    "child-tuning F": ("child-tuning", "strategy.variant=F"),
    "child-tuning D": ("child-tuning", "strategy.variant=D"),
    "full": ("full", ""),
    "diff-pruning": ("diff-pruning", ""),
    "diff-pruning prunes": ("diff-pruning", ""),
}
PRUNES = "diff-pruning prunes"


def start(config: dict[str, Any], folder: Path, pruned: float | None = None) -> int:
    """Start a run in a process of its own; return the process. It kills itself when that share of it is `pruned`."""
    process = os.fork()
    if process:
        return process
    if pruned is not None:
        _kill_in_pruning(pruned)
    try:
        run(config, folder)
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(1)


def _kill_in_pruning(share: float) -> None:
    """Let this process end as soon as pruning has taken the gates from `share` of the tensors."""
    take = DiffPruning._take

    def killing(self: DiffPruning, name: str, merged: bool) -> torch.Tensor:
        if len(self._gated()) <= (1 - share) * len(self._offsets):
            os.kill(os.getpid(), signal.SIGKILL)
        return take(self, name, merged)

    DiffPruning._take = killing


def moment(folder: Path) -> str:
    """Say what a run was doing when it was killed, by what lies in its folder."""
    if not (folder / "result.json").exists():
        return "before its record"
    names = {path.name for path in folder.rglob("*")}
    if any(name.startswith(".") and "safetensors." in name for name in names):
        return "writing a checkpoint or a delta"
    if RunRecord.read(folder).status == "finished":
        return "after its record"
    if "delta.json" in names:
        return "after its delta"
    if FILE_NAME not in names:
        return "before the first checkpoint"
    phase = read_checkpoint(folder / FOLDER / FILE_NAME)["phase"]
    return "training or evaluation" + (f", phase {phase + 1}" if phase else "")


def processor_seconds(process: int) -> float:
    """Return the processor time that a process has taken, all its threads together."""
    user, system = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def ended(process: int) -> bool:
    """Return whether a process has come to its end and waits to be asked for its code."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wait(process: int, folder: Path, share: float, seconds: float, trains: bool) -> None:
    """Wait for a share of the processor seconds that a run takes, or of those from its first checkpoint on."""
    while trains and not (folder / FOLDER / FILE_NAME).exists() and not ended(process):
        time.sleep(0.002)
    begun = processor_seconds(process) if trains else 0.0
    while processor_seconds(process) < begun + share * (seconds - begun) and not ended(process):
        time.sleep(0.002)


def killed(config: dict[str, Any], folder: Path, share: float, seconds: float, trains: bool, pruning: bool) -> str:
    """Start a run and kill it after a share of its processor seconds, or of its pruning; return what it was doing."""
    process = start(config, folder, pruned=share if pruning else None)
    if not pruning:
        wait(process, folder, share, seconds, trains)
        os.kill(process, signal.SIGKILL)
    if not os.WIFSIGNALED(os.waitpid(process, 0)[1]):
        return "not at all: it had ended"
    return "pruning" if pruning else moment(folder)


def main(kills: int, seed: int) -> int:
    """Kill `kills` times, the strategies in turn; return how many runs came out another way."""
    torch.set_num_threads(1)
    draw, seen, differing = random.Random(seed), Counter(), 0
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_rte(root / "glue")
        undisturbed = {}
        for number in range(kills):
            name = list(CASES)[number % len(CASES)]
            strategy, options = CASES[name]
            config = small(
                f"task=rte data.root={root}/glue data.cache_dir={root}/cache checkpoint.every_steps=2 {options} "
                "trainer.max_steps=-1 trainer.max_epochs=4 trainer.limit_val_batches=null trainer.log_every_n_steps=1",
                strategy,
            )
            if name not in undisturbed:
                used = os.wait4(start(config, root / f"{name}-undisturbed"), 0)[2]
                seconds = used.ru_utime + used.ru_stime
                undisturbed[name] = (outcome(RunRecord.read(root / f"{name}-undisturbed")), seconds)
            expected, seconds = undisturbed[name]
            folder = root / f"{name}-{number}"
            turn, turns = number // len(CASES), len(range(number % len(CASES), kills, len(CASES)))
            share = (turn + draw.random()) / turns
            at = killed(config, folder, share, seconds, turn % 3 > 0, name == PRUNES)
            os.waitpid(start(config, folder), 0)
            record = RunRecord.read(folder)
            same = record.status == "finished" and outcome(record) == expected
            seen[at] += 1
            differing += not same
            print(f"{number + 1:3d} {name:19s} killed {at:32s} resumed {record.resumed}  {'same' if same else 'OTHER'}")
    print(f"{kills} kills ({', '.join(f'{count} {at}' for at, count in seen.items())}): {differing} differ")
    return differing


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit(bool(main(*(given + [35, 1][len(given) :]))))
