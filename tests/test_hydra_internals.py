"""An upgrade of Hydra that takes a name away which it never promised says here what breaks."""

import copy

import pytest
from hydra.core.config_store import ConfigStore

from peftlab.hydra_internals import share_config_store
from upgrades import missing, owner_of, users_of

MISSPELT = "telling a misspelt option before a sweep's folder is made"
NAMES = [
    ("hydra._internal.utils", "get_args_parser", "refusing an unknown flag in one line"),
    ("hydra.core.override_parser.overrides_parser:OverridesParser", "create parse_overrides", MISSPELT),
    (
        "hydra.core.override_parser.types:Override",
        "is_discrete_sweep sweep_string_iterator get_key_element",
        MISSPELT,
    ),
    ("hydra.core.global_hydra:GlobalHydra", "instance clear", "composing the configuration beside a command"),
    ("hydra.core.global_hydra:GlobalHydra", "config_loader", "saying how many runs a sweep has"),
    (
        "hydra._internal.core_plugins.basic_sweeper:BasicSweeper",
        "split_arguments",
        "saying how many runs a sweep has",
    ),
]


@pytest.mark.parametrize(("owner", "names", "dependant"), NAMES, ids=lambda value: value.partition(":")[2] or None)
def test_what_hydra_does_not_promise_is_there(owner, names, dependant):
    assert missing("Hydra", owner_of(owner), names, dependant) == []


def test_an_override_keeps_what_was_typed():
    fields = owner_of("hydra.core.override_parser.types:Override").__dataclass_fields__
    assert missing("Hydra", fields, "input_line", MISSPELT) == []


def test_the_configuration_store_is_shared_since_what_is_read_from_it_is_a_copy():
    share_config_store()
    store = ConfigStore.instance()
    assert copy.deepcopy(store) is store
    store.load("hydra/config.yaml").node.job.name = "changed"
    assert store.load("hydra/config.yaml").node.job.get("name") != "changed"


@pytest.mark.parametrize("word", ["hydra._internal", "override_parser", "GlobalHydra", "._get_node", "._is_none"])
def test_one_file_uses_it(word):
    assert users_of(word) <= {"hydra_internals.py"}


def test_a_name_that_is_gone_is_told_with_what_depends_on_it():
    (sentence,) = missing("Hydra", owner_of("hydra.errors"), "HydraException NothingElse", "a line")
    assert sentence == "NothingElse of Hydra is gone: a line depends on it"
