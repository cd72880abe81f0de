"""How many weights each strategy tunes on the paper's backbone: `methods.md` section 1, to the last one."""

from typing import Any

import pytest
import torch

from peftlab.heads.scaled_heads import longest
from peftlab.heads.selection import ChosenHeads
from peftlab.masks.random_parts import RandomParts, draw
from peftlab.strategies.registry import create_strategy
from shapes import BERT_BASE, BERT_LARGE, ROBERTA_BASE, ROBERTA_LARGE, let_meta_tensors_stay, shape_of


@pytest.fixture(autouse=True)
def meta_tensors_stay_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    let_meta_tensors_stay(monkeypatch)


def heads(layers: int, k: int, first: int = 0) -> ChosenHeads:
    return ChosenHeads(tuple(tuple(range(k)) if layer >= first else () for layer in range(layers)))


def drawn(share: float, layers: int, heads: int, down: float = 0.0, inner: int = 0) -> RandomParts:
    return RandomParts(draw(share, layers, heads, seed=1, part=0), draw(down, layers, inner, seed=1, part=1))


@pytest.mark.parametrize(
    ("config", "name", "options", "selection", "tuned", "percent"),
    [
        (BERT_LARGE, "hifi", {}, heads(24, 3), 14_155_776, 4.2238),
        (BERT_LARGE, "hifi", {"bias": True}, heads(24, 3), 14_155_776 + 13_824, 4.2279),
        (BERT_LARGE, "hifi", {"variant": "mid-top"}, heads(24, 3, first=12), 7_077_888, 2.1119),
        (BERT_LARGE, "hifi", {"k": 1}, heads(24, 1), 4_718_592, 1.41),
        (BERT_LARGE, "hifi", {"k": 16}, heads(24, 16), 75_497_472, 22.53),
        (BERT_BASE, "hifi", {}, heads(12, 3), 5_308_416, 4.85),
        # 24 layers x 3 heads x 64 x 1024, once for each of the parts.
        (BERT_LARGE, "hifi", {"rows": ["v", "o"]}, heads(24, 3), 2 * 4_718_592, 2.8159),
        (BERT_LARGE, "hifi", {"rows": ["q", "k", "v", "o"]}, heads(24, 3), 4 * 4_718_592, 5.6318),
        # 19 of 24 x 16 heads x 64 x 1024 for rows of V and columns of O; 1 966 of 24 x 4096 inner values x 1024.
        (BERT_LARGE, "s2ft", {}, drawn(0.052, 24, 16), 2 * 19 * 65_536, 0.7431),
        (BERT_LARGE, "s2ft", {"rows": ["o"], "down": 0.02}, drawn(0.052, 24, 16, 0.02, 4096), 3_258_368, 0.9722),
        # 38 of 24 x 16 heads, 64 each.
        (BERT_LARGE, "lofit", {}, longest(torch.ones(24, 16), 0.1), 2_432, 0.0007),
        # 24 x 16 heads, 2 x 64 numbers and two gates each.
        (BERT_LARGE, "jola", {}, None, 49_920, 0.0149),
        (BERT_LARGE, "lora", {}, None, 786_432, 0.2347),
        (BERT_LARGE, "lora", {"target": "qk"}, None, 786_432, 0.2347),
        (BERT_BASE, "lora", {}, None, 294_912, 0.2694),
        (ROBERTA_LARGE, "lora", {}, None, 786_432, 0.2220),
        (BERT_LARGE, "peft", {"method": "dora", "options": {"r": 4}}, None, 393_216 + 49_152, 0.1320),
        (BERT_LARGE, "ia3", {}, None, 147_456, 0.0440),
        (BERT_LARGE, "tiny-attention", {}, None, 172_296, 0.0514),
        (ROBERTA_LARGE, "tiny-attention", {}, None, 172_296, 0.0486),
        (BERT_BASE, "tiny-attention", {}, None, 64_644, 0.0590),
        (BERT_LARGE, "tiny-attention", {"experts": 4}, None, 689_184, 0.2056),
        # The classifier's weights are among those that 0.5 % is of, and compete with the others.
        (BERT_LARGE, "diff-pruning", {}, None, 1_675_719, 0.5),
        (BERT_LARGE, "diff-pruning", {"target": 0.001}, None, 335_143, 0.1),
        (ROBERTA_BASE, "diff-pruning", {}, None, 623_235, 0.5),
        (BERT_LARGE, "child-tuning", {"variant": "D"}, None, 335_141_888, 100.0),
        (BERT_LARGE, "bitfit", {}, None, 272_384, 0.0813),
        (BERT_BASE, "bitfit", {}, None, 102_912, 0.0940),
        (ROBERTA_LARGE, "bitfit", {}, None, 271_360, 0.0766),
        (ROBERTA_BASE, "bitfit", {}, None, 102_144, 0.0823),
        (BERT_LARGE, "adapter", {}, None, 6_343_680, 1.8928),
        (BERT_LARGE, "adapter", {"bottleneck": 8}, None, 835_968, 0.2494),
        (BERT_LARGE, "adapter", {"bottleneck": 256}, None, 25_227_264, 7.5273),
        (BERT_LARGE, "adapter", {"placement": "pfeiffer"}, None, 3_171_840, 0.9464),
        (BERT_LARGE, "adapter", {"layer_norms": True}, None, 6_343_680 + 100_352, 1.9228),
        (BERT_LARGE, "compacter", {}, None, 152_128, 0.0454),
        (BERT_LARGE, "compacter", {"plus": True}, None, 76_096, 0.0227),
        (BERT_LARGE, "compacter", {"plus": True, "plus_place": "feed-forward"}, None, 76_096, 0.0227),
        (BERT_LARGE, "compacter", {"layer_norms": True}, None, 152_128 + 100_352, 0.0753),
        (BERT_LARGE, "prefix", {}, None, 25_770_496, 7.6894),
        (BERT_LARGE, "prefix", {"mlp": None}, None, 1_474_560, 0.4400),
        (BERT_LARGE, "prefix", {"mlp": None, "length": 20}, None, 983_040, 0.2933),
        (BERT_LARGE, "mam", {}, None, 40_221_472 + 25_202_688, 19.5213),
        (BERT_LARGE, "mam", {"mlp": None}, None, 1_474_560 + 25_202_688, 7.9600),
        (ROBERTA_BASE, "mam", {"mlp": None, "length": 16, "bottleneck": 16}, None, 294_912 + 304_320, 0.4830),
        (BERT_LARGE, "adapterdrop", {}, None, 3_171_840, 0.9464),
        (BERT_LARGE, "adapterdrop", {"robust": False}, None, 14 * 132_160, 0.5521),
        (BERT_LARGE, "adapterdrop", {"robust": False, "drop": 5}, None, 19 * 132_160, 0.7493),
        (BERT_LARGE, "adapterbias", {}, None, 122_904 + 51_200, 0.0519),
        (BERT_LARGE, "adapterbias", {"layer_norms": False}, None, 122_904, 0.0367),
        (BERT_LARGE, "adapterbias", {"layer_norms": False, "share": True}, None, 24 * 1024 + 4097, 0.0086),
        (BERT_BASE, "adapterbias", {}, None, 46_092 + 19_968, 0.0603),
        (BERT_LARGE, "prompt", {}, None, 20_480, 0.0061),
        (BERT_LARGE, "full", {}, None, 335_141_888, 100.0),
        (ROBERTA_LARGE, "full", {}, None, 354_310_144, 100.0),
        (BERT_LARGE, "classifier", {}, None, 0, 0.0),
    ],
)
def test_tuned_weights(
    config: Any, name: str, options: dict[str, Any], selection: Any, tuned: int, percent: float
) -> None:
    backbone = shape_of(config)
    strategy = create_strategy(name, options)
    # Moving to the meta device would give each module its own copy of a shared parameter.
    with torch.device("meta"):
        found = strategy.attach(backbone, selection).num_tuned()
    assert found == tuned
    assert 100 * found / backbone.size == pytest.approx(percent, abs=0.005)


@pytest.mark.parametrize(
    ("config", "size", "classifier"),
    [
        (BERT_LARGE, 335_141_888, 2_050),
        (BERT_BASE, 109_482_240, 1_538),
        (ROBERTA_LARGE, 354_310_144, 1_051_650),
        (ROBERTA_BASE, 124_055_040, 592_130),
    ],
)
def test_size_and_classifier_are_counted_apart(config: Any, size: int, classifier: int) -> None:
    backbone = shape_of(config)
    attached = create_strategy("classifier", {}).attach(backbone)
    assert backbone.size == size
    assert sum(p.numel() for p in attached.classifier().values()) == classifier


@pytest.mark.parametrize(
    ("name", "options", "kept"),
    [
        ("prefix", {}, 1_474_560),  # without the MLP that makes it
        ("mam", {}, 1_474_560 + 25_202_688),
        ("tiny-attention", {"experts": 4}, 172_296),  # the average alone
        ("tiny-attention", {"experts": 4, "average": False}, 689_184),
    ],
)
def test_what_is_stored_is_what_evaluation_needs(name: str, options: dict[str, Any], kept: int) -> None:
    strategy = create_strategy(name, options)
    with torch.device("meta"):
        attached = strategy.attach(shape_of(BERT_LARGE))
        classifier = sum(p.numel() for p in attached.classifier().values())
        assert attached.stored_bytes() == 4 * (kept + classifier)
