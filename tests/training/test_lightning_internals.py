"""An upgrade of Lightning that takes a name away which it never promised says here what breaks."""

from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins.precision.amp import _optimizer_handles_unscaling
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from torch.utils.data import DataLoader

from upgrades import missing, users_of

RESUMING = "resuming within an epoch"
MOVED = "resuming in a folder that was moved"
LOG = "the log of a resumed run"
CLIPPING = "clipping under 16-mixed"


class Line(LightningModule):
    """The smallest model that trains."""

    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(2, 1)

    def training_step(self, batch: Any, index: int) -> Any:
        return self.line(batch).square().mean()

    def validation_step(self, batch: Any, index: int) -> None:
        self.log("score", self.line(batch).mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), fused=True)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory) -> tuple[Trainer, dict[str, Any]]:
    """A trainer that has taken two steps, and its checkpoint."""
    folder = tmp_path_factory.mktemp("lightning")
    best = ModelCheckpoint(dirpath=folder, monitor="score", save_top_k=1)
    quiet = {"enable_progress_bar": False, "enable_model_summary": False, "num_sanity_val_steps": 0}
    logger = CSVLogger(folder, name="", version="")
    trainer = Trainer(accelerator="cpu", max_steps=2, logger=logger, callbacks=[best], **quiet)
    batches = DataLoader(torch.ones(4, 2), batch_size=2)
    trainer.fit(Line(), batches, batches)
    trainer.save_checkpoint(folder / "last.ckpt")
    return trainer, torch.load(folder / "last.ckpt", weights_only=False)


def at(thing: Any, path: str) -> Any:
    """Return what lies behind a dotted path of attributes."""
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing


LIVE = [
    ("fit_loop", "epoch_loop", RESUMING),
    ("fit_loop.epoch_loop", "batch_progress _batches_that_stepped", RESUMING),
    ("fit_loop.epoch_loop.batch_progress", "current total", RESUMING),
    ("fit_loop.epoch_loop.batch_progress.current", "ready completed", RESUMING),
    ("strategy", "setup_optimizers", "a method that trains in stages (Diff-Pruning)"),
    ("logger", "save log_dir", LOG),
    ("logger.experiment", "metrics NAME_METRICS_FILE", LOG),
]


@pytest.mark.parametrize(("path", "names", "dependant"), LIVE, ids=lambda value: value.replace(" ", "-"))
def test_what_lightning_does_not_promise_is_there(path, names, dependant, fitted):
    assert missing("Lightning", at(fitted[0], path), names, dependant) == []


STORED = [
    (["loops"], "fit_loop", RESUMING),
    (["loops", "fit_loop"], "epoch_loop.batch_progress epoch_loop.state_dict", RESUMING),
    (["loops", "fit_loop", "epoch_loop.state_dict"], "_batches_that_stepped", RESUMING),
    (["loops", "fit_loop", "epoch_loop.batch_progress"], "total current is_last_batch", RESUMING),
    (["loops", "fit_loop", "epoch_loop.batch_progress", "current"], "ready completed", RESUMING),
    ([], "epoch state_dict", "evaluating the best epoch"),
]


@pytest.mark.parametrize(("path", "names", "dependant"), STORED, ids=lambda value: str(value).replace(" ", "-"))
def test_what_lightning_does_not_promise_is_in_its_checkpoints(path, names, dependant, fitted):
    state = fitted[1]
    for key in path:
        state = state[key]
    assert missing("Lightning", state, names, dependant) == []


def test_the_state_of_a_checkpoint_callback_is_what_a_moved_folder_puts_right(fitted):
    (state,) = fitted[1]["callbacks"].values()
    names = "best_model_path best_model_score best_k_models kth_best_model_path last_model_path dirpath"
    assert missing("Lightning", state, names, MOVED) == []
    kept = list(state["best_k_models"])
    assert kept == [state["best_model_path"]], f"best_k_models of Lightning changed: {MOVED} depends on it"


def test_the_rank_is_known_where_a_trainer_was_made(fitted):
    assert missing("Lightning", rank_zero_only, "rank", "that one rank alone writes the record") == []


def test_lightning_refuses_to_clip_what_unscales_itself_and_only_that():
    """The attribute is torch's; Lightning asks it."""
    optimiser = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], fused=True)
    assert missing("torch", optimiser, "_step_supports_amp_scaling", CLIPPING) == []
    assert _optimizer_handles_unscaling(optimiser), f"Lightning asks something else: {CLIPPING} depends on it"
    optimiser._step_supports_amp_scaling = False
    assert not _optimizer_handles_unscaling(optimiser), f"Lightning asks something else: {CLIPPING} depends on it"


WORDS = """epoch_loop batch_progress _batches_that_stepped setup_optimizers NAME_METRICS_FILE best_k_models
    rank_zero_only.rank getattr(rank_zero_only _step_supports_amp_scaling"""


@pytest.mark.parametrize("word", WORDS.split())
def test_one_file_uses_it(word):
    assert users_of(word) <= {"training/lightning_internals.py"}
