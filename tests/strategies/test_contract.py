"""Every strategy keeps every promise of the contract, on BERT and RoBERTa; strategies are found by themselves."""

from collections.abc import Callable
from typing import Any

import pytest

from models import HAS_ADAPTERS_LIBRARY, strategy_or_skip
from peftlab.check.promise import DoesNotApplyError
from peftlab.check.small import UNREACHED, Trial
from peftlab.check.strategies import PROMISES
from peftlab.strategies.registry import strategy_names

KINDS = ["bert", "roberta"]

# Declared and never reached: the half of a ReFT that is for the last tokens: in the adapters library 1.3.0 it does
# nothing.
REFT = "refts.task.units.1."

# Strings that `conf/strategy/adapterhub.yaml` names, of sizes that fit a hidden size of 32.
LIBRARY_CONFIGS = [
    "double_seq_bn",
    "seq_bn[reduction_factor=8, leave_out=[0]]",
    "par_bn",
    "scaled_par_bn[reduction_factor=4]",
    "seq_bn_inv",
    "double_seq_bn_inv",
    "compacter[reduction_factor=4]",
    "compacter++[reduction_factor=4]",
    "prefix_tuning[bottleneck_size=16]",
    "prefix_tuning_flat[prefix_length=5]",
    "prompt_tuning[prompt_length=3]",
    "lora[r=2, intermediate_lora=True]",
    "ia3",
    "vera",
    "dora",
    "dvora",
    "loreft",
    "noreft",
    "direft",
    "mam",
    "unipelt",
    "prefix_tuning|parallel",
]

# Options beside the defaults that change what is tuned: each is one more case of every promise.
VARIATIONS: dict[str, list[dict[str, Any]]] = {
    # Without the library every case is skipped: one says so.
    "adapterhub": [{"config": config} for config in LIBRARY_CONFIGS[: None if HAS_ADAPTERS_LIBRARY else 1]],
    "adapter": [
        {},
        {"placement": "pfeiffer", "nonlinearity": "relu"},
        {"placement": "parallel", "init": "identity", "scale": 4.0},
        {"nonlinearity": "gelu", "init": "near-identity", "layer_norms": True, "bottleneck": "auto"},
    ],
    "adapterdrop": [
        {},
        {"drop": 0, "placement": "houlsby"},
        {"drop": 1, "robust": False, "placement": "parallel", "layer_norms": True},
    ],
    "adapterbias": [{}, {"share": True, "layer_norms": False, "decay": True}],
    "mam": [{}, {"mlp": None, "length": 3, "bottleneck": 4, "scale": 1.0}],
    "prompt": [{}, {"place": "first", "init": "uniform", "length": 3}],
    "prefix": [{}, {"mlp": None, "length": 5, "shift": True, "dropout": 0.1}],
    "child-tuning": [{}, {"strict": True}, {"variant": "F", "p": 0.5}],
    "diff-pruning": [{}, {"structured": False, "target": 0.05, "finetune_rate": None}, {"l0_form": "sum", "l0": 1e-3}],
    "lora": [{}, {"target": "qk", "r": 2, "dropout": 0.1}, {"target": "qkv", "init": "gaussian"}],
    "peft": [
        {},
        {"method": "dora", "options": {"r": 4}},
        {"method": "ln_tuning"},
        {"options": {"init_lora_weights": "pissa_niter_4"}},
    ],
    "compacter": [
        {},
        {"plus": True, "n": 2, "bottleneck": 8, "init": "glorot-uniform", "rule_std": 1e-2, "layer_norms": True},
        {"plus": True, "plus_place": "feed-forward"},
    ],
    "tiny-attention": [{}, {"size": 4, "heads": 2, "backbone_dropout": True}, {"experts": 4, "init": "constructor"}],
    "s2ft": [{}, {"heads": 0.5, "rows": ["o"], "down": 0.1}, {"heads": 0.0, "down": 0.25}],
    "lofit": [{}, {"heads": 0.5, "select_epochs": 1, "std": 0.0, "l1": 0.0}],
    "jola": [{}, {"gate_lambda": 0.5, "std": 0.0}],
    "hifi": [
        {},
        {"k": 1, "bias": True},
        {"variant": "mid-top", "k": 4},
        {"k": 1, "rows": ["v", "o"], "score": "fisher"},
        {"allocation": "share", "layer_score": "gradient", "budget": 3, "k_min": 1, "score": "gradient"},
    ],
}
CASES = [(name, options) for name in strategy_names() for options in VARIATIONS.get(name, [{}])]
IDS = ["-".join([name, *(f"{key}={value}" for key, value in options.items())]) for name, options in CASES]


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_every_strategy(case: tuple[str, dict[str, Any]], kind: str, promise: Callable[[Trial], None]) -> None:
    """The promises are those that `python -m peftlab.check NAME` puts a user's strategy through."""
    try:
        promise(Trial(strategy_or_skip(*case), kind, (*UNREACHED, REFT)))
    except DoesNotApplyError as reason:
        pytest.skip(str(reason))
