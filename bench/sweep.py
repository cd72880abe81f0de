"""Runs of 16-shot RTE on minilm in one sweep, against the same as processes of their own; bf16, as the study has it."""

import tempfile
from functools import partial
from pathlib import Path

from bench.commands import QUIET, rte, train
from bench.paired import timed
from bench.report import Row, faster, publish

BITFIT = f"+strategy=bitfit {rte()} shots=16 backbone=minilm trainer.precision=bf16-mixed {QUIET}"


def measure(runs: int, what: str, options: str = "", target: float | None = None) -> Row:
    """Return the row of so many runs, which differ in their seed."""
    typed, seeds = f"{BITFIT} {options}", [str(seed) for seed in range(1, runs + 1)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(f"{typed} seed=0", folder)  # tokens are made once, for both
        sweep = timed(lambda: train(f"{typed} seed={','.join(seeds)} -m", folder))
        processes = sum(timed(partial(train, f"{typed} seed={seed}", folder)) for seed in seeds)
    title = f"{runs} runs of 16-shot in one sweep, {what}"
    one, start = sweep / runs, (processes - sweep) / runs
    note = f"{sweep:.0f} against {processes:.0f} s: a run takes {one:.1f} s, starting a process {start:.1f} more"
    return faster(title, f"{runs} processes", [sweep], [processes], target, note)


def main() -> None:
    """Measure and publish."""
    short = measure(10, "three epochs", "trainer.max_epochs=3 trainer.limit_test_batches=1", target=2.5)
    publish("sweep", "Sweeps: BitFit on 16-shot RTE, minilm, bf16", [short, measure(3, "all 50 epochs")])


if __name__ == "__main__":
    main()
