"""The settings that define an experiment: two runs that agree in them differ in the seed at most."""

import json
from collections.abc import Mapping
from typing import Any

from peftlab.options.roles import flatten, role_of

# Options that are younger than some records, with what every run did before it could choose.
LEGACY_DEFAULTS = {
    "strategy.score_after_steps": "0",
    "strategy.score_learning_rate": "2e-05",
    "strategy.unit": "query",
    "strategy.allocation": "uniform",
    "strategy.budget": "null",
    "strategy.k_min": "0",
    "strategy.k_max": "null",
    "strategy.layer_score": "richness",
    "strategy.selection_seed": "null",
    "strategy.rows": '["q", "k", "v"]',
    "strategy.parameters": "null",
    "strategy.layer_norms": "false",
    "strategy.decay": "false",
    "shots.batch_size": "null",
    "data.train": "null",
    "data.validation": "null",
    "data.test": "null",
    "data.text": "null",
    "data.label": "null",
    "training.compile": "null",
    "training.schedule": "linear",
    "trainer.callbacks": "[]",
    "training.early_stopping": "null",
    "training.gradient_checkpointing": "false",
    "training.best_by": "null",
    "training.warmup_steps": "null",
    "backbone.kernels": "true",
    "backbone.dtype": "float32",
    "backbone.quantize": "null",
    "trainer.reload_dataloaders_every_n_epochs": "0",
    "trainer.sync_batchnorm": "false",
}


def recorded_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the recipe's name instead of its rates for all strategies and tasks."""
    kept = {name: value for name, value in config.items() if name != "recipe"}
    recipe = config.get("recipe") or {}
    return kept | ({"recipe": recipe["name"]} if recipe.get("name") else {})


def comparable(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that define the experiment, those too which an older record did not have to say.

    The recipe that has the backbone's name is the usual one, which nobody names.
    """
    found = LEGACY_DEFAULTS | experiment_settings(config)
    backbone = config.get("backbone")
    if isinstance(backbone, Mapping) and found.get("recipe") == backbone.get("name"):
        found.pop("recipe", None)
    return found


def experiment_settings(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the settings that define the experiment, as ``{"strategy.k": "3"}``; an empty table sets nothing."""
    kept = {name: value for name, value in flatten(config).items() if role_of(name).method != "no" and value != {}}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in kept.items()}
