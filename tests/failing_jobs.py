"""A callback of Hydra's that lets one job of a sweep fail wherever a launcher has carried it.

`+hydra.callbacks.fail._target_=failing_jobs.Fail +hydra.callbacks.fail.how=crash +hydra.callbacks.fail.rate=0.03`
"""

import os
import signal
import time
from typing import Any

from hydra.experimental.callback import Callback


class Fail(Callback):
    """In the second training step of the run with learning rate `rate`: crash, kill the process, or take for ever.

    `unbegun` kills it before Hydra lets the run begin.
    """

    def __init__(self, how: str, rate: float) -> None:
        self.how, self.rate = how, rate

    def on_job_start(self, config: Any, **kwargs: Any) -> None:
        from peftlab.training.module import FineTuning

        train = getattr(FineTuning, "undisturbed", FineTuning.training_step)
        fails, how = config.training.learning_rate == self.rate, self.how
        if fails and how == "unbegun":
            fail("killed")

        def training_step(module: Any, batch: Any, index: int) -> Any:
            if fails and index == 1:
                fail(how)
            return train(module, batch, index)

        FineTuning.undisturbed, FineTuning.training_step = train, training_step


def fail(how: str) -> None:
    if how == "crash":
        raise RuntimeError("out of\nmemory")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(600)
