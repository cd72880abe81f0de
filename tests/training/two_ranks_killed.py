"""`python two_ranks_killed.py FOLDER STRATEGY SPREAD [STEP]`: a run on two CPU processes, on the RTE below FOLDER.

The first process kills itself (SIGKILL) in its training step number STEP. Not a test itself.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from peftlab.run import run
from peftlab.training.module import FineTuning
from runs import small

TWO = "trainer.devices=2 trainer.max_steps=-1 trainer.max_epochs=2 checkpoint.every_steps=1"


def kill_at(step: int) -> None:
    """Let the first process end in its training step number `step`, counted from 1."""
    train, begun = FineTuning.training_step, []

    def training_step(module: FineTuning, *batch: Any) -> Any:
        begun.append(1)
        if module.global_rank == 0 and len(begun) == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return train(module, *batch)

    FineTuning.training_step = training_step


def main(folder: Path, strategy: str, spread: str, step: int | None = None) -> None:
    if step is not None:
        kill_at(step)
    where = f"task=rte data.root={folder} data.cache_dir={folder}/cache trainer.limit_val_batches=null"
    config = small(f"{where} {TWO} trainer.strategy={spread} trainer.log_every_n_steps=1", strategy)
    run(config, folder / ("killed" if step else "undisturbed"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:4], *map(int, sys.argv[4:]))
