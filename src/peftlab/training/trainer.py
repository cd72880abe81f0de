"""The Lightning Trainer of one run, from `conf/trainer`."""

import logging
import warnings
from collections.abc import Mapping, Sequence
from inspect import signature
from pathlib import Path
from typing import Any, get_type_hints

import torch
from lightning import Callback, Trainer
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar, RichModelSummary
from lightning.pytorch.loggers import Logger

from peftlab.errors import UserError
from peftlab.options.schema import checked
from peftlab.terminal import bars_are_shown, show_bars
from peftlab.training.arguments import SHARDED
from peftlab.training.checkpoint_files import SafeCheckpoints
from peftlab.training.narration import Bar
from peftlab.training.sharding import ShardedBackbone

# What Lightning remarks on, and is meant so here.
_KNOWN_REMARKS = (
    ".*does not have many workers.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*The number of training batches .* is smaller than the logging interval.*",
    ".*Found .* module.* in eval mode at the start of training.*",
    # The data itself begins at the right batch.
    ".*your dataloader is not resumable.*",
    ".*isinstance.treespec, LeafSpec.. is deprecated.*",
    ".*all_gather is deprecated.*",
    # On a login node of Slurm's a run is a process like any other.
    ".*The `srun` command is available on your system but is not used.*",
    # Nothing is added in place to what a model returns.
    "FSDP2-wrapped module .* returned a view tensor.*",
    # trainer.max_steps within the first epoch: nothing was validated, and the last weights are the best ones.
    ".*could not find the monitored key.*",
)


def build_trainer(
    options: Mapping[str, Any],
    epochs: int,
    folder: Path,
    loggers: Sequence[Logger],
    callbacks: Sequence[Callback],
    sparse_gradients: bool = False,
) -> Trainer:
    """Return a Trainer; `options` are Lightning's own arguments, None standing for Lightning's default.

    Args:
        options: `conf/trainer`.
        epochs: what `max_epochs` is when nobody sets it.
        folder: the run's output folder.
        loggers: where metrics go.
        callbacks: what is done around training.
        sparse_gradients: whether a training step may leave out some of what is tuned, another on each device.

    Raises:
        UserError: Lightning refuses an argument, or the accelerator is not there.
    """
    for library in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(library).setLevel(logging.WARNING)
    for remark in _KNOWN_REMARKS:
        warnings.filterwarnings("ignore", remark)
    given = {"max_epochs": epochs, **{name: value for name, value in options.items() if value is not None}}
    given.pop("callbacks", None)  # the user's: they are among `callbacks`
    if "check_val_every_n_epoch" in options:  # null has a meaning of its own: batches are counted across epochs
        given["check_val_every_n_epoch"] = options["check_val_every_n_epoch"]
    _check_types(given)
    if sparse_gradients and given.get("devices") != 1 and given.get("strategy", "auto") in ("auto", "ddp"):
        given["strategy"] = "ddp_find_unused_parameters_true"
    if given.get("strategy") == SHARDED:
        given["strategy"] = ShardedBackbone()
        # What is gathered in inference mode could not be used by a later training step.
        given["inference_mode"] = False
    shown: list[Callback] = []
    has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if bars_are_shown() and not has_bar:
        shown.append(Bar())
    given["enable_progress_bar"] = has_bar or bool(shown)
    if given.get("enable_model_summary"):
        shown.append(RichModelSummary(max_depth=1))
    try:
        return Trainer(
            **given,
            logger=list(loggers),
            callbacks=[*callbacks, *shown],
            default_root_dir=folder,
            plugins=[SafeCheckpoints(), *_cluster()],
            # The data itself shares out its batches among the ranks.
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ImportError, TypeError, ValueError, RuntimeError) as error:
        raise UserError(f"trainer: {' '.join(str(error).split())} (given: {_unlike_defaults(given)})") from error


def find_device(options: Mapping[str, Any], folder: Path) -> torch.device:
    """Return the device that a run with these options is on, without running anything.

    Raises:
        UserError: Lightning refuses an argument, or the accelerator is not there.
    """
    with show_bars(False):
        return build_trainer({**options, "enable_model_summary": False}, 1, folder, [], []).strategy.root_device


def _cluster() -> list[SLURMEnvironment]:
    """Return what Lightning is told of a cluster: within Slurm that runs end and go on in the laboratory's own way."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


def _unlike_defaults(given: Mapping[str, Any]) -> str:
    """Return the arguments that Lightning would have chosen otherwise, as a command line says them."""
    defaults = {name: parameter.default for name, parameter in signature(Trainer.__init__).parameters.items()}
    return ", ".join(f"{name}={value}" for name, value in given.items() if value != defaults.get(name))


def _check_types(given: Mapping[str, Any]) -> None:
    """Refuse values of which Lightning would complain without naming them, or not before training."""
    kinds = get_type_hints(Trainer.__init__)
    for name, value in given.items():
        if name in kinds and not (name == "precision" and isinstance(value, str)):
            checked(value, kinds[name], f"trainer.{name}")
