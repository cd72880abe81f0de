"""The settings that define an experiment: two runs that agree in them differ in the seed at most."""

import json
from collections.abc import Mapping
from typing import Any

# What may differ between two runs of one experiment: the seed itself, where files lie, what is shown, logged, measured.
INCIDENTAL_GROUPS = {
    *("seed", "logger", "paths", "hydra", "checkpoint", "deployment", "force", "any_code", "search", "robustness")
}
SHOWN = ("enable_progress_bar", "enable_model_summary", "log_every_n_steps", "profiler")  # of the trainer's
INCIDENTAL_ENDINGS = ("seed", "root", "dir", "num_workers", *SHOWN)
# Options that are younger than some records, with what every run did before it could choose.
LEGACY_DEFAULTS = {
    "strategy.score_after_steps": "0",
    "strategy.score_learning_rate": "2e-05",
    "training.compile": "null",
}


def comparable(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that define the experiment, those too which an older record did not have to say."""
    return LEGACY_DEFAULTS | experiment_settings(config)


def experiment_settings(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return the settings that define the experiment, as ``{"strategy.k": "3"}``."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        if key.endswith(INCIDENTAL_ENDINGS) or (not prefix and key in INCIDENTAL_GROUPS):
            continue
        if isinstance(value, Mapping):
            flat |= experiment_settings(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, str) else json.dumps(value)
    return flat
