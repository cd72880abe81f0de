"""A small task in files and one fit of a tiny backbone on it, put together as a run does it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from models import tiny
from peftlab.data.module import TaskData
from peftlab.strategies.contract import Strategy
from peftlab.strategies.registry import create_strategy
from peftlab.tasks.task import FileSource, Task
from peftlab.training.callbacks import AttachStrategy, LearningCurve, Stopwatch, best_checkpoint
from peftlab.training.module import FineTuning
from peftlab.training.settings import TrainingSettings
from peftlab.training.trainer import build_trainer

TRAIN, VALIDATION, BATCH = 12, 6, 4
QUIET = {
    "accelerator": "cpu",
    "devices": 1,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
    "log_every_n_steps": 1,
}


@dataclass
class FitResult:
    module: FineTuning
    trainer: Trainer
    data: TaskData
    attach: AttachStrategy
    stopwatch: Stopwatch
    curve: LearningCurve
    best: ModelCheckpoint

    def weights(self) -> dict[str, Tensor]:
        """Return all trained weights."""
        return {name: p.detach().clone() for name, p in self.module.named_parameters() if p.requires_grad}


def small_task(root: Path, extra: Sequence[str] = ()) -> Task:
    """Return a task of two labels whose files are written below `root`; `extra` names more validation sets."""
    sizes = {"train": TRAIN, "validation": VALIDATION, **dict.fromkeys(extra, VALIDATION)}
    (root / "SMALL").mkdir(parents=True, exist_ok=True)
    for split, size in sizes.items():
        rows = [f"{'ab ' * (1 + number % 5)}{split[0]}\t{('yes', 'no')[number % 2]}" for number in range(size)]
        (root / "SMALL" / f"{split}.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    source = FileSource("SMALL", ["text"], "label", {name: f"{name}.tsv" for name in sizes})
    return Task("small", ["accuracy"], ["yes", "no"], files=source)


def same_weights(first: FitResult, second: FitResult) -> bool:
    """Return whether two fits left the same trained weights, bit for bit."""
    one, two = first.weights(), second.weights()
    return one.keys() == two.keys() and all(torch.equal(value, two[name]) for name, value in one.items())


def fit(
    folder: Path,
    strategy: Strategy | str = "bitfit",
    *,
    seed: int = 1,
    epochs: int = 2,
    extra: Sequence[str] = (),
    callbacks: Sequence[Callback] = (),
    sizes: dict[str, Any] | None = None,
    data_options: dict[str, Any] | None = None,
    spread: str = "auto",
    gradient_checkpointing: bool = False,
    **trainer_options: Any,
) -> FitResult:
    """Tune a tiny BERT on the small task; `sizes` are entries of its config, `spread` is Lightning's strategy."""
    seed_everything(seed, workers=True, verbose=False)
    task = small_task(folder, extra)
    backbone = tiny(labels=tuple(task.labels), seed=seed, **(sizes or {}))
    strategy = create_strategy(strategy, {}) if isinstance(strategy, str) else strategy
    options: dict[str, Any] = {"root": folder, "shots": None, "batch_size": BATCH, "max_length": 32, "cache_dir": None}
    data = TaskData(task, backbone.processor, seed=seed, **options | (data_options or {}))
    data.setup()
    settings = TrainingSettings(1e-2, BATCH, epochs, 0.01, 0.1, gradient_checkpointing=gradient_checkpointing)
    module = FineTuning(backbone, data.kind, settings, {"validation": data.validation_names, "test": []})
    attach, stopwatch, curve = AttachStrategy(strategy, backbone, data, seed, folder), Stopwatch(), LearningCurve()
    best = best_checkpoint(folder, "accuracy")
    everything = [attach, stopwatch, curve, best, *callbacks]
    trainer = build_trainer({**QUIET, "strategy": spread, **trainer_options}, epochs, folder, [], everything)
    trainer.fit(module, datamodule=data)
    return FitResult(module, trainer, data, attach, stopwatch, curve, best)
