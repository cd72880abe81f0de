"""Sizes that follow the backbone: the original's proportion of the hidden size, or as many weights as are allowed."""

import logging
import re

import pytest
import torch
from transformers import BertConfig

from models import tiny
from peftlab.errors import UserError
from peftlab.heads.selection import ChosenHeads
from peftlab.run import run
from peftlab.strategies.registry import create_strategy
from peftlab.strategies.restore import describe_delta
from runs import small
from shapes import BERT_BASE, BERT_LARGE, shape_of

# As all-MiniLM-L6-v2: 6 layers of 384.
MINILM = BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536)


@pytest.mark.parametrize(
    ("name", "option", "large", "base", "mini", "least"),
    [
        ("adapter", "bottleneck", 64, 48, 24, 2),
        ("adapterdrop", "bottleneck", 64, 48, 24, 2),
        ("compacter", "bottleneck", 32, 24, 12, 4),  # 1 of 32: no less than n
        ("prefix", "mlp", 512, 384, 192, 16),
        ("mam", "mlp", 800, 600, 300, 25),
        ("mam", "bottleneck", 512, 384, 192, 16),
    ],
)
def test_auto_is_the_originals_share_of_the_hidden_size(name, option, large, base, mini, least):
    strategy = create_strategy(name, {option: "auto"})
    backbones = [*map(shape_of, (BERT_LARGE, BERT_BASE, MINILM)), tiny()]
    assert [getattr(strategy.fitted(backbone), option) for backbone in backbones] == [large, base, mini, least]


# HiFi's on this backbone: 3 heads of 32 rows in Q, K and V of 6 layers.
HIFI = 6 * 3 * 3 * 32 * 384


@pytest.mark.parametrize(
    ("name", "options", "most", "size", "tuned"),
    [
        ("lora", {}, HIFI, 72, HIFI),  # 6 x 2 x 2 x 384 a rank
        ("lora", {}, HIFI - 1, 71, 71 * 9_216),
        ("adapter", {}, HIFI, 71, 12 * (769 * 71 + 384)),  # one wider: 9,228 more, 664,272
        ("adapter", {"layer_norms": True}, HIFI, 70, 12 * (769 * 70 + 384) + 13 * 2 * 384),
        ("adapterdrop", {}, HIFI, 143, 6 * (769 * 143 + 384)),
        ("compacter", {}, 14_400, 12, 12 * 3 * (384 + 12) + 64),  # in steps of n = 4
        ("prefix", {"mlp": None}, HIFI, 144, HIFI),  # 6 x 2 x 384 a token
        ("mam", {"mlp": None, "length": 16}, HIFI, 127, 16 * 4_608 + 6 * (769 * 127 + 384)),
        ("prompt", {}, 10_000, 26, 26 * 384),
        ("tiny-attention", {"heads": 2, "size": 2}, 50_000, 4, 6 * (3 * 384 + 1_543 * 4 + 4 * 16)),
    ],
)
def test_the_largest_size_that_tunes_no_more_weights_is_taken(name, options, most, size, tuned):
    backbone, strategy = shape_of(MINILM), create_strategy(name, {**options, "parameters": most})

    def count(size: int) -> int:
        given = create_strategy(name, {**options, strategy.sized_by: size})
        with torch.device("meta"):
            attached = given.attach(backbone)
            tuned = attached.num_tuned()
        attached.detach()
        return tuned

    fitted = strategy.fitted(backbone)
    assert getattr(fitted, strategy.sized_by) == size
    assert count(size) <= most < count(size + strategy.step)
    assert count(size) == tuned


def test_hifi_tunes_what_others_are_compared_at():
    heads = ChosenHeads(((0, 1, 2),) * 6)
    with torch.device("meta"):
        assert create_strategy("hifi", {}).attach(shape_of(MINILM), heads).num_tuned() == HIFI


@pytest.mark.parametrize(("alpha", "scale"), [("auto", 1.0), (8, 8 / 3)])
def test_the_scale_of_lora_stays_where_alpha_follows_the_rank(alpha, scale):
    # 2 layers x 2 projections x 2 x 32 a rank.
    fitted = create_strategy("lora", {"parameters": 3 * 256, "alpha": alpha}).fitted(tiny())
    described = fitted.config(tiny())
    assert described.lora_alpha / described.r == scale


def test_a_size_that_was_chosen_is_as_one_that_was_given():
    deltas = []
    for options in ({"bottleneck": 5}, {"parameters": 4 * (65 * 5 + 32)}):
        backbone = tiny()
        before = {name: value.clone() for name, value in backbone.model.state_dict().items()}
        torch.manual_seed(3)
        attached = create_strategy("adapter", options).attach(backbone)
        deltas.append(describe_delta(attached, {"name": "tiny"}, "rte", ["yes", "no"], {}))
        after = attached.detach().state_dict()
        assert after.keys() == before.keys()
        assert all(torch.equal(after[name], before[name]) for name in before)
    given, chosen = deltas
    assert chosen.facts == given.facts  # what restores it holds the number
    assert all(torch.equal(given.tensors[name], chosen.tensors[name]) for name in given.tensors)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        # 2 layers x 2 projections x 2 x 32 a rank.
        ("lora", {"parameters": 255}, "strategy.parameters=255: allowed are 256, what lora tunes with r=1, to "),
        ("adapter", {"parameters": 10**18}, "allowed are 388, what adapter tunes with bottleneck=1, to "),
        ("lora", {"parameters": 10_000}, "strategy.r=39: allowed are 1 to 32, the hidden size of tiny-bert"),
        (
            "compacter",
            {"parameters": 1},
            "allowed are 496, what compacter tunes with bottleneck=4, to ",
        ),
    ],
)
def test_a_number_of_weights_that_no_size_has_is_refused(name, options, message):
    with pytest.raises(UserError, match=re.escape(message)):
        create_strategy(name, options).fitted(tiny()).check(tiny())


def test_a_run_says_which_size_it_took(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    record = run(small("strategy.bottleneck=auto data.cache_dir=null", strategy="adapter"), tmp_path)
    assert record.parameters.sizes == {"bottleneck": 2}
    assert record.parameters.tuned == 4 * (65 * 2 + 32)
    assert record.config["strategy"]["bottleneck"] == "auto"
    assert "; bottleneck 2" in caplog.text
