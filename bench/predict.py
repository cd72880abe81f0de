"""Predictions of a finished run against transformers' pipeline on the merged model: the same pairs, the same answers.

BitFit on minilm after a few steps of RTE, whose validation pairs are asked. The pipeline takes one pair at a time, as
it does unless it is told otherwise, and as many as ours. Tokenising is in all of the times.
"""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from transformers import TextClassificationPipeline, pipeline

from bench.commands import QUIET, rte, train
from bench.paired import alternate
from bench.report import Row, faster, publish
from peftlab.inputs.text import text_encoder
from peftlab.prediction.given import from_file
from peftlab.prediction.loaded import BATCH_SIZE, LoadedRun, load
from peftlab.strategies.restore import export_merged

ROUNDS = 5
TARGET = 2.0
TRAINING = "trainer.max_steps=8 trainer.limit_val_batches=1"


def measure(run: Path, pairs: Sequence[tuple[str, str]], rounds: int) -> list[Row]:
    """Return the rows of a finished run of a classification of pairs; all answer alike, or this fails."""
    ours = load(run)
    with TemporaryDirectory() as folder:
        export_merged(run, Path(folder) / "merged")
        theirs = pipeline("text-classification", str(Path(folder) / "merged"), device="cpu")
    inputs = [{"text": first, "text_pair": second} for first, second in pairs]
    contenders: dict[str, Callable[[], Any]] = {
        "ours": lambda: ours.predict(pairs),
        "one": lambda: answers(theirs, inputs, 1, ours),
        "batched": lambda: answers(theirs, inputs, BATCH_SIZE, ours),
    }
    expected = [one["label"] for one in ours.predict(pairs)]
    for name in ("one", "batched"):
        found = contenders[name]()
        if found != expected:
            raise SystemExit(f"{name}: {sum(a != b for a, b in zip(found, expected, strict=True))} answers differ")
    seconds = alternate(contenders, rounds)
    rate = len(pairs) / statistics.median(seconds["ours"])
    note = f"{len(pairs)} pairs, {rate:.0f} examples/s, same answers"
    return [
        faster("predict: a finished run", "pipeline", seconds["ours"], seconds["one"], TARGET, note),
        faster("predict: a finished run", f"pipeline, batch {BATCH_SIZE}", seconds["ours"], seconds["batched"], TARGET),
    ]


def answers(theirs: TextClassificationPipeline, inputs: list[dict[str, str]], size: int, ours: LoadedRun) -> list[str]:
    """Return the labels that the pipeline gives, cut at the length that the run was trained with."""
    found = theirs(inputs, batch_size=size, truncation=True, max_length=text_encoder(ours.encoder).max_length)
    return [one["label"] for one in found]


def main() -> None:
    """Measure and publish."""
    with TemporaryDirectory() as name:
        run = Path(name) / "run"
        train(f"+strategy=bitfit {rte()} backbone=minilm {TRAINING} {QUIET} hydra.run.dir={run}", Path(name))
        file = Path(load(run).record.config["data"]["root"]) / "RTE" / "dev.tsv"
        rows = [one.row for one in from_file(load(run).kind, file)]
        made = measure(run, [(row["text_a"], row["text_b"]) for row in rows], ROUNDS)
    publish("predict", "Predictions: BitFit on minilm, RTE's validation pairs, fp32", made)


if __name__ == "__main__":
    main()
