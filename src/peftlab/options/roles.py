"""What each option may change: the one list from which ids, tables, resuming and the names of folders follow.

Ids and the settings that a resumed run must keep come from `identity.py`, rows of tables from `results/settings.py`,
the names of a sweep's folders from `folder_digest`, which `conf/config.yaml` calls. None has a list of its own.
"""

import hashlib
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, Literal

Counts = Literal["value", "content", "no"]


class Role(Enum):
    """How another value of an option counts, in three places.

    `run`: whether it is another run, by its id and when an interrupted run is resumed. `method`: whether it is another
    row of a table, by what the record's configuration says. `folder`: whether it is another folder of a sweep, by what
    was typed, before anything is read. What counts by content is hashed: two places that hold the same are the same.
    """

    RUN = "the run itself", "value", "value", "value"
    # A repetition: tables take the mean over seeds.
    SEED = "which repetition of a run it is", "value", "no", "value"
    # Itself no setting of a run: it counts as the settings that it gives. A folder's name sees only what was typed.
    GIVES = "which settings other options get", "no", "no", "value"
    # As GIVES, of settings that stand nowhere else in a record: a table can tell them by this name alone.
    NAMES = "which settings other options get, by a name", "no", "value", "value"
    # Its value stands for what it holds. In a table and in a folder's name it is what a user typed and knows it by.
    CONTENT = "what is read, or made, by this value", "content", "value", "value"
    # The data, the weights and the cache are the same wherever they are; the id hashes what was found there.
    PLACE = "where things lie", "no", "no", "no"
    # As with a place, it is what they hold that counts; but a sweep over folders is one of several backbones.
    WEIGHTS = "whose weights are tuned", "no", "no", "value"
    # Likewise; and as the task of own files says nothing of them, a table knows them by what was typed.
    OWN = "which rows are read", "no", "value", "value"
    MEASURE = "what is measured or kept besides", "no", "no", "no"
    NOTHING = "nothing: what is shown, and how a command is carried out", "no", "no", "no"

    def __init__(self, changes: str, run: Counts, method: Counts, folder: Counts) -> None:
        self.changes, self.run, self.method, self.folder = changes, run, method, folder


# The longest name that an option is or begins with decides; whatever is not here is the run itself. An option of a
# strategy that names a file or folder says so in its dataclass (metadata `path`) and counts by content.
ROLES = {
    "seed": Role.SEED,
    "recipe": Role.NAMES,
    "experiment": Role.GIVES,
    "search": Role.GIVES,
    "robustness": Role.GIVES,
    "backbone.random": Role.CONTENT,
    "backbone.hub": Role.PLACE,
    "backbone.revision": Role.PLACE,
    "backbone.name": Role.NOTHING,  # a backbone is what its weights are
    "backbone.path": Role.WEIGHTS,
    "backbone.package": Role.PLACE,
    "backbone.parts": Role.PLACE,
    "backbone.sha256": Role.PLACE,
    "task.hub": Role.PLACE,
    "task.files": Role.PLACE,
    "task.own": Role.PLACE,
    "task.generator": Role.PLACE,
    "data.root": Role.PLACE,
    "data.train": Role.OWN,
    "data.validation": Role.OWN,
    "data.test": Role.OWN,
    "data.text": Role.OWN,
    "data.label": Role.OWN,
    "data.cache_dir": Role.PLACE,
    "deployment": Role.MEASURE,
    "checkpoint.trajectory": Role.MEASURE,
    "checkpoint": Role.NOTHING,
    "data.keep_predictions": Role.MEASURE,
    "data.num_workers": Role.NOTHING,
    "trainer.enable_progress_bar": Role.NOTHING,
    "trainer.enable_model_summary": Role.NOTHING,
    "trainer.log_every_n_steps": Role.NOTHING,
    "trainer.profiler": Role.NOTHING,
    "trainer.enable_autolog_hparams": Role.NOTHING,
    "logger": Role.NOTHING,
    "plan": Role.NOTHING,  # what a study states before it begins
    "force": Role.NOTHING,
    "any_code": Role.NOTHING,
    "wait": Role.NOTHING,
    "plugins": Role.NOTHING,  # their code counts, where a run uses it
    "paths": Role.NOTHING,  # of older records
    "hydra": Role.NOTHING,
}


def role_of(option: str) -> Role:
    """Return the role of an option or a group by its dotted name, as ``data.root``."""
    parts = option.split(".")
    names = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((ROLES[name] for name in names if name in ROLES), Role.RUN)


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a configuration's values by their dotted names; an empty table is a value."""
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def folder_digest(overrides: Iterable[str]) -> str:
    """Return 8 hex digits that stand for the overrides of one run of a sweep, in whatever order they were typed."""
    kept = sorted(override for override in overrides if role_of(option_of(override)).folder != "no")
    return hashlib.sha256(",".join(kept).encode()).hexdigest()[:8]


def option_of(override: str) -> str:
    """Return the option that an override is about: ``a.b`` of ``++a.b=1``, ``task`` of ``task@_global_=rte``."""
    return override.partition("=")[0].lstrip("+~").partition("@")[0].replace("/", ".")
