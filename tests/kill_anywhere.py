"""`python tests/kill_anywhere.py [KILLS] [SEED]`: kill runs at random moments, start them again, compare bit for bit.

Each strategy is run once undisturbed; then again and again in a fresh process that is killed (SIGKILL) after a random
share of that run's time, and started with the same configuration and folder until it ends. The record's facts, the
delta, the selection and the log must be those of the undisturbed run. Prints a line a kill and the count; ends with
code 1 when anything differs. Processes are forked, so that a second goes into the run and not into importing.
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
from runs import small, write_rte  # noqa: E402

CASES = {
    "hifi": ("hifi", ""),
    "lora": ("lora", ""),
    "child-tuning F": ("child-tuning", "strategy.variant=F"),
    "child-tuning D": ("child-tuning", "strategy.variant=D"),
    "full": ("full", ""),
}


def start(config: dict[str, Any], folder: Path) -> int:
    """Start a run in a process of its own; return the process."""
    process = os.fork()
    if process:
        return process
    try:
        run(config, folder)
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(1)


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
    return "training or evaluation" if "last.safetensors" in names else "before the first checkpoint"


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
                started = time.perf_counter()
                os.waitpid(start(config, root / f"{name}-undisturbed"), 0)
                seconds = time.perf_counter() - started
                undisturbed[name] = (outcome(RunRecord.read(root / f"{name}-undisturbed")), seconds)
            expected, seconds = undisturbed[name]
            folder = root / f"{name}-{number}"
            process = start(config, folder)
            time.sleep(draw.random() * seconds)
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            at = moment(folder)
            os.waitpid(start(config, folder), 0)
            record = RunRecord.read(folder)
            same = record.status == "finished" and outcome(record) == expected
            seen[at] += 1
            differing += not same
            print(f"{number + 1:3d} {name:15s} killed {at:32s} resumed {record.resumed}  {'same' if same else 'OTHER'}")
    print(f"{kills} kills ({', '.join(f'{count} {at}' for at, count in seen.items())}): {differing} differ")
    return differing


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit(bool(main(*(given + [30, 1][len(given) :]))))
