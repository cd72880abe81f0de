"""Train, take the best epoch's weights, and evaluate them."""

from dataclasses import dataclass
from pathlib import Path

from lightning import Callback, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException

from peftlab.data.module import TaskData
from peftlab.errors import UserError, require
from peftlab.strategies.contract import Selection
from peftlab.tasks.kind import Better, TaskKind
from peftlab.training.callbacks import AttachStrategy, LearningCurve, best_checkpoint, early_stopping, load_best
from peftlab.training.checkpoint_files import not_whole
from peftlab.training.extent import Extent, check_extent
from peftlab.training.guards import CheckGradientFlow, FiniteLoss
from peftlab.training.module import FineTuning
from peftlab.training.narration import Narrator
from peftlab.training.resumption import Resumption
from peftlab.training.settings import LOSS, TrainingSettings
from peftlab.training.step_log import StepLog
from peftlab.training.trajectory import KeepTrajectory


class RunCallbacks:
    """The callbacks of one run: attaching, timing, the learning curve, checkpoints, what is kept of the weights.

    `settings` say by which metric an epoch is better than another, and after how many without one training ends.
    """

    def __init__(
        self, attach: AttachStrategy, kind: TaskKind, folder: Path, resumption: Resumption, settings: TrainingSettings
    ) -> None:
        self.attach, self.resumption = attach, resumption
        self.stopwatch = resumption.stopwatch
        self.step_log = StepLog(self.stopwatch)
        self.curve = LearningCurve()
        self.narrator = Narrator(self.curve, kind.metrics)
        patience, by, judged = settings.early_stopping, settings.best_by or kind.primary, attach.data.has_validation
        better: Better = "lower" if by == LOSS else kind.metrics[by].better
        self.best = best_checkpoint(folder, by if judged else None, better)
        for name, value in (("early_stopping", patience), ("best_by", settings.best_by)):
            none = f"training.{name}={value}: allowed is null, task={kind.task.name} has no validation set"
            require(judged or not value, none)
        self.early = [early_stopping(by, better, patience)] if patience else []
        points = resumption.options.trajectory
        self.trajectory = [KeepTrajectory(folder, points, self.stopwatch)] if points else []

    @property
    def callbacks(self) -> list[Callback]:
        """Return them in the order in which they act."""
        guards = [FiniteLoss(), CheckGradientFlow()]
        observers = [self.stopwatch, self.step_log, self.curve, self.narrator]
        return [self.attach, *guards, *observers, *self.early, self.resumption, self.best, *self.trajectory]


@dataclass(frozen=True)
class Spent:
    """Seconds of each part of a run."""

    selection: float
    training: float
    evaluation: float


@dataclass(frozen=True)
class FitResult:
    """What training did; the module holds the metrics of the weights that are kept."""

    steps: int
    extent: Extent
    epochs: int
    best_epoch: int | None
    precision: str
    seconds: Spent
    selection: Selection | None
    curve: list[dict[str, float | None]]
    first_loss: float | None
    stopped_early: bool


def fit_and_evaluate(trainer: Trainer, module: FineTuning, data: TaskData, observers: RunCallbacks) -> FitResult:
    """Train `module`, leave the best epoch's weights in it, and evaluate exactly those.

    Raises:
        UserError: an option of the trainer that does not fit the data, or a checkpoint that is not whole.
    """
    check_extent(trainer, len(data.train_dataloader()))
    try:
        trainer.fit(module, datamodule=data, ckpt_path=observers.resumption.checkpoint, weights_only=True)
    except MisconfigurationException as error:
        raise UserError(f"trainer: {' '.join(str(error).split())}") from error
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if not observers.resumption.is_restoring:
            raise
        raise not_whole(observers.resumption.checkpoint, error) from error
    steps, epochs = trainer.global_step, trainer.current_epoch
    require(steps > 0, "trainer: training ended before its first step (trainer.max_time); allowed is a longer time")
    best_epoch = load_best(observers.best, module)
    trainer.validate(module, datamodule=data, verbose=False)
    if data.test_names:
        trainer.test(module, datamodule=data, verbose=False)
    attach, stopwatch = observers.attach, observers.stopwatch
    return FitResult(
        steps=steps,
        extent=Extent.of(trainer, data),
        epochs=epochs,
        best_epoch=best_epoch,
        precision=str(trainer.precision),
        seconds=Spent(attach.seconds, stopwatch.training, stopwatch.evaluation),
        selection=attach.selection,
        curve=observers.curve.rows,
        first_loss=observers.curve.first_loss,
        stopped_early=any(callback.stopped for callback in observers.early),
    )
