"""The adapters library by its configuration strings; without it, one line that says what to install."""

import sys

import pytest
import torch
from torch import nn

from models import HAS_ADAPTERS_LIBRARY, batch, logits, tiny
from peftlab.errors import MissingPackageError, UserError
from peftlab.run import run
from peftlab.strategies.registry import create_strategy, strategy_names
from runs import small, train

there = pytest.mark.skipif(not HAS_ADAPTERS_LIBRARY, reason="the adapters library is not installed")
WHAT_TO_INSTALL = "install requirements-adapters.txt into an environment of its own (make test-adapters does"


def test_without_the_library_a_run_is_one_line_that_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "adapters", None)
    assert "adapterhub" in strategy_names()
    with pytest.raises(MissingPackageError) as caught:
        run(small("data.cache_dir=null", strategy="adapterhub"), tmp_path)
    assert WHAT_TO_INSTALL in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(HAS_ADAPTERS_LIBRARY, reason="the adapters library is installed")
def test_on_the_command_line_that_is_exit_code_2(tmp_path):
    done = train("+strategy=adapterhub task=demo backbone=tiny", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: strategy=adapterhub: the adapters library is not installed")
    assert WHAT_TO_INSTALL in done.stderr


@there
@pytest.mark.parametrize(
    ("config", "told"),
    [
        (
            "sq_bn",
            r"config=sq_bn: .* no configuration 'sq_bn' .did you mean seq_bn.*; there are compacter, compacter\+\+, ",
        ),
        ("lora|sq_bn[a=1]", r"config=lora.sq_bn.*no configuration 'sq_bn'"),
        ("/etc/passwd", r"no configuration '/etc/passwd'"),
        ("lora[r=", r"config=lora.r=: Invalid adapter config string"),
        ("lora[rank=4]", r"config=lora.rank=4.: .*unexpected keyword argument 'rank'"),
        ("lora|ia3", r"config=lora.ia3: .*cannot be combined"),
    ],
)
def test_a_string_that_the_library_does_not_know_is_told(config, told):
    with pytest.raises(UserError, match=told) as caught:
        create_strategy("adapterhub", {"config": config})
    assert "\n" not in str(caught.value)


@there
def test_what_does_not_fit_is_one_line_and_leaves_the_backbone_as_it_was():
    backbone = tiny()
    kinds, names = [type(module) for module in backbone.model.modules()], list(backbone.model.state_dict())
    with pytest.raises(UserError, match=r"strategy.config=compacter: does not fit backbone tiny-bert: .*phm_dim"):
        create_strategy("adapterhub", {"config": "compacter"}).check(backbone)
    assert [type(module) for module in backbone.model.modules()] == kinds
    assert list(backbone.model.state_dict()) == names


@there
@pytest.mark.parametrize(
    ("config", "neutral", "mergeable"),
    [
        ("lora", True, True),
        ("ia3", True, True),
        ("lora[use_gating=True]", False, False),
        ("mtl_lora", False, False),
        ("par_bn", True, False),
        ("double_seq_bn", False, False),
        ("lora|par_bn", True, False),
        ("mam", False, False),
    ],
)
def test_what_it_declares_follows_from_the_parts_of_the_configuration(config, neutral, mergeable):
    strategy = create_strategy("adapterhub", {"config": config})
    traits = strategy.traits
    assert (traits.start_tolerance < 1, traits.mergeable) == (neutral, mergeable)


@there
@pytest.mark.parametrize("config", ["ia3", "dora"])
def test_a_scaled_bias_is_merged_too(config):
    """The library writes the matrix alone, and is off by the bias's share."""
    backbone = tiny()
    strategy = create_strategy("adapterhub", {"config": config})
    attached = strategy.attach(backbone)
    with torch.no_grad():
        for parameter in attached.tuned().values():
            parameter.add_(torch.rand_like(parameter))
    inputs = batch(backbone)
    biases = {name: p.clone() for name, p in backbone.model.named_parameters() if name.endswith("bias")}
    before = logits(backbone, inputs)
    attached.merge()
    torch.testing.assert_close(logits(backbone, inputs), before, rtol=0, atol=1e-6)
    moved = [name for name, p in backbone.model.named_parameters() if name in biases and not p.equal(biases[name])]
    assert len(moved) == {"ia3": 6, "dora": 4}[config]
    assert all(type(module) is nn.Linear for name, module in backbone.model.named_modules() if name.endswith("query"))
