"""How a run trains: the numbers a recipe gives and a user may override."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from peftlab.errors import UserError, nearest, require
from peftlab.options.schema import build

_PARTS = ("default", "epochs", "strategies", "searched", "name")  # of a recipe; commands fill in its name

LOSS = "loss"  # of the validation set, as `best_by` has it beside the task's metrics

# Of torch.compile. The last two generate no code: for finding out what a graph breaks.
BACKENDS = ("inductor", "cudagraphs", "aot_eager", "eager")


@dataclass(frozen=True)
class TrainingSettings:
    """Learning rate and what goes with it. `batch_size` None: the size of the training set.

    `epochs` is what `trainer.max_epochs` is when nobody sets it. `compile` names a backend of `torch.compile`.
    `schedule` is that of the rate after the warm-up. `early_stopping` ends training after so many evaluations in a row
    without a better validation score. `best_by` is the task's metric, or the loss, that chooses the best epoch; None:
    the primary metric. `gradient_checkpointing` keeps the inputs of layers alone for the backward pass. `warmup_steps`
    stands in place of `warmup`, a share of all steps.
    """

    learning_rate: float
    batch_size: int | None
    epochs: int
    weight_decay: float
    warmup: float
    compile: str | None = None
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    early_stopping: int | None = None
    gradient_checkpointing: bool = False
    best_by: str | None = None
    warmup_steps: int | None = None

    def __post_init__(self) -> None:
        require(0 < self.learning_rate < math.inf, f"training.learning_rate={self.learning_rate}: allowed is above 0")
        require(
            self.batch_size is None or self.batch_size >= 1,
            f"training.batch_size={self.batch_size}: allowed is 1 or more",
        )
        require(self.epochs >= 1, f"training.epochs={self.epochs}: allowed is 1 or more")
        require(self.weight_decay >= 0, f"training.weight_decay={self.weight_decay}: allowed is 0 or more")
        require(0 <= self.warmup < 1, f"training.warmup={self.warmup}: allowed is [0, 1), a share of all steps")
        steps = self.warmup_steps
        require(steps is None or steps >= 0, f"training.warmup_steps={steps}: allowed is 0 or more, or null")
        patience = self.early_stopping
        require(patience is None or patience >= 1, f"training.early_stopping={patience}: allowed is 1 or more, or null")
        if self.compile not in (None, *BACKENDS):
            raise UserError(f"training.compile={self.compile}: allowed are null, {', '.join(BACKENDS)}")

    def warmup_share(self, steps: int) -> float:
        """Return the share of `steps` with a rising rate; above 1 they are too few for it to rise to its height."""
        return self.warmup if self.warmup_steps is None else self.warmup_steps / max(1, steps)


@dataclass(frozen=True)
class CheckpointOptions:
    """The group `checkpoint` of `conf/config.yaml`: when to write one; null: never for that reason.

    `trajectory` is how many weights are kept along the way, besides the start; they stay when the run has finished.
    """

    every_epoch: bool = True
    every_steps: int | None = None
    every_minutes: float | None = 10.0
    trajectory: int | None = None

    def __post_init__(self) -> None:
        for name in ("every_steps", "every_minutes", "trajectory"):
            value = getattr(self, name)
            require(value is None or value > 0, f"checkpoint.{name}={value}: allowed is above 0, or null")


def look_up(recipe: Mapping[str, Any], strategy: str, task: str) -> dict[str, Any]:
    """Return the entries of a backbone's recipe for a strategy's row and a task.

    A recipe is read from the general to the particular: `default`, then `epochs` of the task, then the row's own
    `default`, then the row's entry for the task, then what a search found for the row (`python -m peftlab.search`).

    """
    _check_recipe(recipe)
    row = recipe.get("strategies", {}).get(strategy, {})
    epochs = recipe.get("epochs", {}).get(task)
    found = {**recipe.get("default", {}), **({"epochs": epochs} if epochs else {})}
    found |= {**row.get("default", {}), **row.get(task, {}), **recipe.get("searched", {}).get(strategy, {})}
    return found


def _check_recipe(recipe: Mapping[str, Any]) -> None:
    """Refuse what `look_up` would never read."""
    _check_names(recipe, _PARTS, "recipe")
    entries = {"default": recipe.get("default", {})}
    entries |= {f"searched.{row}": entry for row, entry in recipe.get("searched", {}).items()}
    for row, tasks in recipe.get("strategies", {}).items():
        entries |= {f"strategies.{row}.{task}": entry for task, entry in tasks.items()}
    allowed = [field.name for field in fields(TrainingSettings)]
    for place, entry in entries.items():
        require(isinstance(entry, Mapping), f"recipe.{place}={entry}: allowed is a table with {', '.join(allowed)}")
        _check_names(entry, allowed, f"recipe.{place}")


def _check_names(table: Iterable[str], allowed: Sequence[str], place: str) -> None:
    for name in table:
        if name not in allowed:
            told = f"{place}.{name}: no such option{nearest(str(name), allowed)}"
            raise UserError(f"{told}; allowed are {', '.join(allowed)}")


def resolve_settings(
    training: Mapping[str, Any], recipe: Mapping[str, Any], shots: Mapping[str, Any], strategy: str, task: str
) -> TrainingSettings:
    """Return the settings of a run: what the user gives, else what the shots ask for, else the recipe.

    With few shots and no batch size given, `batch_size` is that of the shots, which may be None: they are one batch.

    Raises:
        UserError: a value that is not allowed; no rate is given, and the recipe has none to fall back on.
    """
    found = look_up(recipe, strategy, task)
    if shots["per_class"] is not None:
        found["batch_size"] = shots.get("batch_size")  # None: they are one batch (App. A.3)
    if shots["epochs"] is not None:
        found["epochs"] = shots["epochs"]
    given = {name: value for name, value in training.items() if value is not None}
    require(
        "learning_rate" in found | given,
        f"recipe: it has no learning rate for strategy {strategy} on task {task}: name one that fits the backbone "
        "(recipe=NAME), give training.learning_rate, or search (experiment=search)",
    )
    return build(TrainingSettings, {**found, **given}, "training")


def check_given(training: Mapping[str, Any]) -> None:
    """Check what the user gives of the settings, before anything is known of the rest.

    Raises:
        UserError: an unknown setting, or a value that is not allowed.
    """
    given = {name: value for name, value in training.items() if value is not None}
    # Any that are valid stand for those that a recipe will give.
    build(TrainingSettings, {"learning_rate": 1.0, "batch_size": None, "epochs": 1, **given}, "training")
