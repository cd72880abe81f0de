"""Where training went: deltas kept along the way, from which `peftlab.landscape` draws the path of a run."""

import re
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer

from peftlab.delta.delta import write_tensors
from peftlab.files import remove_files, remove_if_empty
from peftlab.training.callbacks import Stopwatch
from peftlab.training.module import FineTuning

FOLDER = "trajectory"
FILE = re.compile(r"step-(\d+)\.safetensors")


def trajectory_files(folder: Path) -> dict[int, Path]:
    """Return the deltas that a run kept along its way, by the optimiser steps taken before; empty without any."""
    found = ((FILE.fullmatch(path.name), path) for path in (folder / FOLDER).glob("step-*"))
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def remove_trajectory(folder: Path) -> None:
    """Remove what an earlier run kept in `folder`; what else lies beside it stays."""
    remove_files(folder / FOLDER, FILE.pattern)
    remove_if_empty(folder / FOLDER)


class KeepTrajectory(Callback):
    """Keeps the delta at the start and at `points` equal distances up to the end of training.

    Nothing is drawn at random and nothing is changed: a run ends as it would without. Of a strategy that trains in
    phases, only weights of the last one are kept; those before are of another kind.

    Args:
        folder: the run's output folder; the files are below it, each as large as the run's own delta.
        points: how many besides the start.
        stopwatch: stands still while a file is written.
    """

    def __init__(self, folder: Path, points: int, stopwatch: Stopwatch) -> None:
        self._folder = folder
        self._points, self._stopwatch = points, stopwatch
        self._steps: set[int] = set()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Set the steps; keep the start, unless the run is resumed from a later place."""
        total = int(trainer.estimated_stepping_batches)
        self._steps = {round(total * point / self._points) for point in range(self._points + 1)}
        if trainer.global_step == 0:
            self._keep(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the delta where it is time to; batches whose gradients only add up are no step."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0 or trainer.is_last_batch
        if stepped and trainer.global_step in self._steps:
            self._keep(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the end of a run that was stopped early, too."""
        if trainer.global_step not in self._steps:
            self._keep(trainer, pl_module)

    def _keep(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, FineTuning)
        if trainer.is_global_zero and module.phases.in_last:
            with self._stopwatch.stopped():
                path = self._folder / FOLDER / f"step-{trainer.global_step:07d}.safetensors"
                write_tensors(module.attached.delta(), path)
