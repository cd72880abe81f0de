"""A callback of Hydra's that holds each run of a sweep in the middle until it is told to end.

`+hydra.callbacks.held._target_=engines.held_jobs.Held`
"""

import os
import select
import signal
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback

from peftlab.signals import ENDING


class Held(Callback):
    """In its second training step a run makes the file `held-SEED` and waits, once, for a signal or the file `go`."""

    def on_job_start(self, config: Any, **kwargs: Any) -> None:
        from peftlab.training.module import FineTuning

        train, place = FineTuning.training_step, Path(f"held-{config.seed}")

        def training_step(module: Any, batch: Any, index: int) -> Any:
            if index == 1 and not place.exists():
                wait(place)
            return train(module, batch, index)

        FineTuning.training_step = training_step


def wait(place: Path) -> None:
    """Return when Python is told of a signal to end, whatever its handler does, or when the file `go` is there."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer)
    place.write_text(str(os.getpid()))
    told = b""
    while not {*ENDING} & set(told) and not place.with_name("go").exists():
        told = os.read(reader, 1) if select.select([reader], [], [], 0.1)[0] else b""
    signal.set_wakeup_fd(before)
