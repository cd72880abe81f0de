"""What a user waits for: help, the configuration, and the first step of a task that has run before."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from bench.commands import QUIET, configuration, rte, train
from bench.paired import timed
from bench.report import Row, publish, single

ROUNDS = 5


def commands() -> list[Row]:
    """Return the rows of commands that answer without running anything."""
    made = []
    with tempfile.TemporaryDirectory() as name:
        for typed, limit in (("--help", 1.5), ("+strategy=hifi --cfg job", 2.5)):
            seconds = [timed(lambda typed=typed: train(typed, Path(name))) for _ in range(ROUNDS)]  # type: ignore[misc]
            made.append(single(f"train.py {typed}", "", statistics.median(seconds), "s", limit))
    return made


def second_run() -> list[Row]:
    """Return the rows of a run whose task and backbone have been used before: what it tokenises, and its first step."""
    from peftlab import run as runs
    from peftlab.inputs import tokens
    from peftlab.training.module import FineTuning

    moments: dict[str, float] = {}

    def noting(name: str, after: bool, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*given: Any, **options: Any) -> Any:
            if not after:
                moments.setdefault(name, time.perf_counter())
            result = function(*given, **options)
            if after:
                moments.setdefault(name, time.perf_counter())
            return result

        return wrapped

    typed = f"+strategy=bitfit {rte()} backbone=minilm trainer.max_steps=2 trainer.limit_val_batches=1 {QUIET}"
    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.object(runs, "load_backbone", noting("loaded", True, runs.load_backbone)),
        mock.patch.object(FineTuning, "training_step", noting("step", False, FineTuning.training_step)),
        mock.patch.object(tokens, "_encode", wraps=tokens._encode) as encode,
    ):
        waited = []
        for number in range(3):
            moments.clear()
            encode.reset_mock()
            runs.run(configuration(f"{typed} data.cache_dir={name}/cache"), Path(name) / str(number))
            waited.append((moments["step"] - moments["loaded"], encode.call_count))
    note = f"the first run: {waited[0][0]:.2f} s"
    return [
        single("second run: splits tokenised", "its first run", float(waited[-1][1]), "splits", 0.0),
        single("second run: model loaded to first step", "", waited[-1][0], "s", 1.0, note),
    ]


def main() -> None:
    """Measure and publish."""
    publish("startup", "Starting", [*commands(), *second_run()])


if __name__ == "__main__":
    main()
