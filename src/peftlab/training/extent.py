"""How much is trained and evaluated: what the Trainer's arguments leave of it, and which do not fit the data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from lightning import Trainer

from peftlab.data.module import TaskData
from peftlab.errors import require
from peftlab.results.record import CutShort
from peftlab.training.arguments import ENDLESS


def check_extent(trainer: Trainer, batches: int) -> None:
    """Refuse to validate or to step every so many batches where an epoch has fewer, and more steps than there are.

    Args:
        trainer: the run's.
        batches: those of an epoch, if nothing limits it.

    Raises:
        UserError: names the argument, and what it may be.
    """
    limit = trainer.limit_train_batches
    there = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    # A duration is no number of batches, and without whole epochs the batches of all of them are counted.
    every = getattr(trainer, "val_check_interval", None) if trainer.check_val_every_n_epoch is not None else None
    require(
        every is None or (1 <= every <= there if isinstance(every, int) else every > 0),
        f"trainer.val_check_interval={every}: allowed are 1 to {there}, the batches of an epoch, or a share up to 1.0",
    )
    group = trainer.accumulate_grad_batches
    # Of no batches at all Lightning says itself that nothing is left.
    require(
        group <= max(there, 1) or bool(getattr(trainer, "fast_dev_run", False)),
        f"trainer.accumulate_grad_batches={group}: allowed are 1 to {there}, the batches of an epoch, which ends with "
        "a step; a smaller training.batch_size makes more",
    )
    least, most = trainer.min_steps or 0, ceil(there / group) * (trainer.max_epochs or 0)
    require(
        trainer.max_epochs == ENDLESS or least <= most,
        f"trainer.min_steps={least}: allowed are 0 to {most}, the steps of all epochs",
    )


@dataclass(frozen=True)
class Extent:
    """What a run did; of batches, how many there are and how many were used.

    Attributes:
        steps: optimiser steps taken.
        train: the batches of an epoch.
        validation: the batches of each validation set.
        test: the batches of each test set.
        accumulated: the batches of a step.
    """

    steps: int
    train: tuple[int, int]
    validation: Sequence[tuple[int, int]]
    test: Sequence[tuple[int, int]]
    accumulated: int

    @classmethod
    def of(cls, trainer: Trainer, data: TaskData) -> "Extent":
        """Return the extent of a run that has been trained and evaluated."""
        return cls(
            steps=trainer.global_step,
            train=(len(data.train_dataloader()), int(trainer.num_training_batches)),
            validation=_used([len(loader) for loader in data.val_dataloader()], trainer.num_val_batches),
            test=_used([len(loader) for loader in data.test_dataloader()], trainer.num_test_batches),
            accumulated=trainer.accumulate_grad_batches,
        )

    def cut_short(self, options: Mapping[str, Any], epochs: int) -> CutShort:
        """Return by which of the Trainer's arguments the run was cut short.

        Args:
            options: the arguments as they were given.
            epochs: those planned; -1: `max_steps` is the plan.
        """
        everywhere = ("overfit_batches", "fast_dev_run")  # these decide before the limits do
        training = _first_given(options, *everywhere, "limit_train_batches") if _fewer([self.train]) else []
        training += self._ended_by(options, epochs)
        evaluation = _first_given(options, *everywhere, "limit_val_batches") if _fewer(self.validation) else []
        # 0 is a limit, too.
        evaluation += _first_given(options, "fast_dev_run", "limit_test_batches") if _fewer(self.test) else []
        return CutShort(list(dict.fromkeys(training)), list(dict.fromkeys(evaluation)))

    def _ended_by(self, options: Mapping[str, Any], epochs: int) -> list[str]:
        """Return what ended training before its planned epochs, or before `max_steps` where they are the plan."""
        most = options.get("max_steps")
        planned = ceil(self.train[1] / self.accumulated) * epochs if epochs != ENDLESS else most or 0
        if self.steps >= planned:
            return []
        return _first_given(options, "fast_dev_run", *(["max_steps"] if self.steps == most else ["max_time"]))


def _first_given(options: Mapping[str, Any], *names: str) -> list[str]:
    """Return the first of the arguments that was given, as a command line says it."""
    limits = {name for name in names if name.startswith("limit") and options.get(name) is not None}
    given = (name for name in names if options.get(name) or name in limits)
    return [f"trainer.{name}={options[name]}" for name in given][:1]


def _fewer(batches: Sequence[tuple[int, int]]) -> bool:
    return any(used < there for there, used in batches)


def _used(there: Sequence[int], used: Sequence[int | float]) -> list[tuple[int, int]]:
    """Return each set's batches and those used of them; a stage that was left out used none."""
    return [(batches, int(used[number]) if number < len(used) else 0) for number, batches in enumerate(there)]
