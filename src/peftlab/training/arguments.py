"""What of Lightning's Trainer a command line may set: each argument does what Lightning says, or is refused in a line.

What depends on the data stands in `extent.py`. Nothing here needs Lightning.
"""

import os
from collections.abc import Mapping
from typing import Any

from peftlab.errors import require
from peftlab.strategies.traits import Traits
from peftlab.training.settings import TrainingSettings

# What a run makes itself, and what takes its place.
OWNED = {
    "logger": "choose one with logger=csv, wandb or tensorboard",
    "plugins": "checkpoints are its own",
    "enable_checkpointing": "the group checkpoint says when one is written",
    "default_root_dir": "hydra.run.dir is its folder",
    "use_distributed_sampler": "the data itself shares out its batches",
    "limit_predict_batches": "it predicts nothing but validation and test sets, which have limits of their own",
    "barebones": "a run without metrics and weights leaves nothing",
    "model_registry": "its delta stays in its folder",
}
# Lightning's own word for no end.
ENDLESS = -1
# The lowest whole number, and whether -1 says that there is no end.
_COUNTS = {
    "max_epochs": (1, True),
    "max_steps": (1, True),
    "min_epochs": (0, False),
    "min_steps": (0, False),
    "accumulate_grad_batches": (1, False),
    "check_val_every_n_epoch": (1, False),
    "num_sanity_val_steps": (0, True),
    "log_every_n_steps": (0, False),
    "reload_dataloaders_every_n_epochs": (0, False),
}
# Lightning's word for models in parts; here the frozen weights are (`sharding.py`).
SHARDED = "fsdp"
_COPIES = ("spawn", "fork", "notebook")
_SHARDS = (f"{SHARDED}_", "deepspeed", "model_parallel")


def check_trainer(options: Mapping[str, Any], epochs: int) -> None:
    """Check the arguments for which Lightning would fail late, or silently do something else than it says.

    Args:
        options: `conf/trainer`.
        epochs: what `max_epochs` is when nobody sets it.

    Raises:
        UserError: names the argument, and what it may be.
    """
    for name, instead in OWNED.items():
        require(options.get(name) is None, f"trainer.{name}={options.get(name)}: a run makes this itself, {instead}")
    for name, (least, may_be_endless) in _COUNTS.items():
        value = options.get(name)
        valid = value is None or (type(value) is int and (value >= least or (may_be_endless and value == ENDLESS)))
        allowed = f"{least} or more, or -1 for no end" if may_be_endless else f"{least} or more"
        require(valid, f"trainer.{name}={value}: allowed is {allowed}")
    for name in ("limit_train_batches", "limit_val_batches"):
        value = options.get(name)
        require(value is None or value != 0, f"trainer.{name}={value}: allowed is above 0; a run trains and validates")
    clip = options.get("gradient_clip_val")
    require(not isinstance(clip, int | float) or clip >= 0, f"trainer.gradient_clip_val={clip}: allowed is 0 or more")
    _check_length(options, options.get("max_epochs") or epochs)
    _check_processes(options)


def check_sharding(options: Mapping[str, Any], name: str, traits: Traits, settings: TrainingSettings) -> None:
    """Refuse to share out a backbone where a strategy or a setting does not allow it.

    Args:
        options: `conf/trainer`.
        name: the strategy's.
        traits: the strategy's.
        settings: the run's.

    Raises:
        UserError: says why.
    """
    if options.get("strategy") != SHARDED:
        return
    refused = f"trainer.strategy={SHARDED}: allowed is ddp, "
    require(traits.shardable, f"{refused}strategy {name} reads frozen weights between steps")
    # Backward passes would end in different layers on different devices, and one would wait for the other's parts.
    require(not traits.sparse_gradients, f"{refused}strategy {name} leaves parts out, other ones on each device")
    require(settings.compile is None, f"{refused}training.compile={settings.compile} compiles whole weights")


def _check_length(options: Mapping[str, Any], epochs: int) -> None:
    """Refuse training without an end, for which there is no learning rate, and at least more than at most."""
    steps, least = options.get("max_steps") or ENDLESS, options.get("min_epochs") or 0
    require(
        epochs != ENDLESS or steps != ENDLESS,
        f"trainer.max_epochs={ENDLESS}: allowed with trainer.max_steps alone; the learning rate falls to 0 at the end",
    )
    require(epochs == ENDLESS or least <= epochs, f"trainer.min_epochs={least}: allowed are 0 to {epochs}, max_epochs")
    least = options.get("min_steps") or 0
    require(steps == ENDLESS or least <= steps, f"trainer.min_steps={least}: allowed are 0 to {steps}, max_steps")


def _check_processes(options: Mapping[str, Any]) -> None:
    devices, cores = options.get("devices"), os.cpu_count() or 1
    # Lightning starts a process for each device without asking whether the machine can bear it.
    require(type(devices) is not int or devices <= cores, f"trainer.devices={devices}: this machine has {cores} cores")
    strategy = str(options.get("strategy"))
    require(
        not any(word in strategy for word in _COPIES),
        f"trainer.strategy={strategy}: it copies a run into other processes, whose results are lost; allowed are ddp, "
        f"{SHARDED}",
    )
    require(
        not any(word in strategy for word in _SHARDS),
        f"trainer.strategy={strategy}: it shares out what is tuned, too; allowed are ddp, {SHARDED}",
    )
