"""One epoch of RTE on minilm, end to end, against Hugging Face's Trainer with peft's LoRA: bf16, batches of 16."""

import math
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

from bench.commands import QUIET, configuration, rte
from bench.report import Row, faster, publish, single
from peftlab.backbones.sources import find_files
from peftlab.data.module import TaskData
from peftlab.plan import make_parts
from peftlab.run import run

SEEDS = (1, 2, 3, 4, 5)
PADDED_SEEDS = (1, 2)
BATCH, LENGTH = 16, 128


@dataclass(frozen=True)
class Epoch:
    """What one epoch took: seconds of training alone, and of everything after loading; the validation accuracy."""

    training: float
    total: float
    accuracy: float
    examples: int


def ours(seed: int, more: str = "") -> Epoch:
    """Train HiFi for an epoch: its scoring, evaluation and the second evaluation of the best epoch included."""
    typed = (
        f"+strategy=hifi {rte()} backbone=minilm seed={seed} trainer.precision=bf16-mixed training.batch_size={BATCH}"
    )
    with tempfile.TemporaryDirectory() as folder:
        record = run(
            configuration(f"{typed} trainer.max_epochs=1 data.max_length={LENGTH} {QUIET} {more}"), Path(folder)
        )
    seconds = record.seconds
    assert record.metric is not None
    accuracy = record.metric.validation
    assert accuracy is not None
    training, rest = seconds.training or 0.0, (seconds.selection or 0.0) + (seconds.evaluation or 0.0)
    return Epoch(training, training + rest, accuracy, record.data["examples"]["train"])


class Theirs:
    """Hugging Face's Trainer with peft's LoRA, r=8, on the same tokens."""

    def __init__(self) -> None:
        config = configuration(f"+strategy=lora {rte()} backbone=minilm")
        plan = make_parts(config)
        spec = plan.spec
        self._folder = find_files(spec.title, spec.path, spec.hub, spec.package, spec.sha256)
        self._tokenizer = AutoTokenizer.from_pretrained(self._folder)
        root = Path(plan.data.root) if plan.data.root else None
        data = TaskData(
            plan.task,
            self._tokenizer,
            root=root,
            shots=None,
            seed=1,
            batch_size=BATCH,
            max_length=LENGTH,
            cache_dir=None,
        )
        data.setup()
        # Any: transformers names datasets of torch, and takes whatever has a length and items.
        self._splits: dict[str, Any] = {
            name: [{key: value for key, value in example.items() if key != "index"} for example in split]  # type: ignore[attr-defined]
            for name, split in data.splits.items()
        }
        self._rate = plan.settings.learning_rate

    def epoch(self, seed: int, padded: bool) -> Epoch:
        """Train and evaluate; `padded`: every batch to the full length, else to its longest example."""
        set_seed(seed)
        model = AutoModelForSequenceClassification.from_pretrained(self._folder, num_labels=2)
        model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=8))
        padding: dict[str, Any] = {"padding": "max_length", "max_length": LENGTH} if padded else {}
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                model,
                self._arguments(folder, seed),
                DataCollatorWithPadding(self._tokenizer, **padding),
                self._splits["train"],
                self._splits["validation"],
                compute_metrics=lambda given: {"accuracy": float(np.mean(given[0].argmax(-1) == given[1]))},
                callbacks=[_NoOutput()],
            )
            started = time.perf_counter()
            trainer.train()
            trained = time.perf_counter() - started
            accuracy = trainer.evaluate()["eval_accuracy"]
            return Epoch(trained, time.perf_counter() - started, accuracy, len(self._splits["train"]))

    def _arguments(self, folder: str, seed: int) -> TrainingArguments:
        return TrainingArguments(
            folder,
            num_train_epochs=1,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=64,
            learning_rate=self._rate,
            bf16=True,
            use_cpu=not torch.cuda.is_available(),
            seed=seed,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )


class _NoOutput(TrainerCallback):
    """Keeps the Trainer's own printing off the table."""

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say nothing."""


def rows(ours: list[Epoch], theirs: list[Epoch], padding: str, with_metric: bool) -> list[Row]:
    """Return the rows of epochs that were run in turns."""
    rival = f"HF Trainer + peft LoRA, {padding}"
    rates = [round(epochs[0].examples / min(epoch.training for epoch in epochs)) for epochs in (ours, theirs)]
    made = [
        faster(
            "one epoch of RTE: training",
            rival,
            [epoch.training for epoch in ours],
            [epoch.training for epoch in theirs],
            2.5,
            f"{rates[0]} against {rates[1]} examples/s at best",
        ),
        faster(
            "the same with scoring and evaluation",
            rival,
            [epoch.total for epoch in ours],
            [epoch.total for epoch in theirs],
            note="ours evaluates twice",
        ),
    ]
    if with_metric:
        made.append(_metric_row(ours, theirs, rival))
    return made


def _metric_row(ours: list[Epoch], theirs: list[Epoch], rival: str) -> Row:
    mine, other = ([epoch.accuracy for epoch in epochs] for epochs in (ours, theirs))
    error = math.sqrt(np.var(mine, ddof=1) / len(mine) + np.var(other, ddof=1) / len(other))
    behind = (np.mean(other) - np.mean(mine)) / error if error else 0.0
    note = f"{np.mean(mine):.3f} against {np.mean(other):.3f} over {len(mine)} seeds"
    return single("validation accuracy: how far behind", rival, float(behind), "standard errors", 2.0, note)


def main() -> None:
    """Measure and publish."""
    rival, made = Theirs(), []
    ours(0, "trainer.max_steps=2 strategy.n=8")  # tokens are made, libraries loaded
    for padding, seeds in (("dynamic padding", SEEDS), ("padded to 128", PADDED_SEEDS)):
        pairs = [(ours(seed), rival.epoch(seed, padding != "dynamic padding")) for seed in seeds]
        mine, other = ([pair[place] for pair in pairs] for place in (0, 1))
        made += rows(mine, other, padding, with_metric=len(seeds) > 2)
    publish("epoch", "One epoch of RTE: minilm, batch 16, 128 tokens, bf16", made)


if __name__ == "__main__":
    main()
