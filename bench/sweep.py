"""Ten runs of 16-shot RTE on minilm in one sweep, against the same as ten processes."""

import tempfile
from pathlib import Path

from bench.commands import QUIET, rte, train
from bench.paired import timed
from bench.report import faster, publish

RUNS = 10


def main() -> None:
    """Measure and publish."""
    typed = (
        f"+strategy=bitfit {rte()} shots=16 backbone=minilm trainer.max_epochs=3 trainer.limit_test_batches=1 {QUIET}"
    )
    seeds = [str(seed) for seed in range(1, RUNS + 1)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train(f"{typed} seed=0", folder)  # tokens are made once, for both
        sweep = timed(lambda: train(f"{typed} seed={','.join(seeds)} -m", folder))
        processes = timed(lambda: [train(f"{typed} seed={seed}", folder) for seed in seeds])
    note = f"{sweep:.0f} against {processes:.0f} s"
    made = [faster(f"{RUNS} runs of 16-shot in one sweep", f"{RUNS} processes", [sweep], [processes], 2.5, note)]
    publish("sweep", "Sweeps: 16-shot RTE, minilm, three epochs, fp32", made)


if __name__ == "__main__":
    main()
