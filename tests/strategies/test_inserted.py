"""What the methods that insert modules refuse, and how they start."""

import pytest
import torch

from models import batch, logits, tiny
from peftlab.errors import UserError
from peftlab.run import run
from peftlab.strategies.registry import create_strategy
from runs import small


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("adapter", {"bottleneck": 0}, "strategy.bottleneck=0: allowed is 1 or more"),
        (
            "adapter",
            {"placement": "beside"},
            "placement=beside: allowed are houlsby, pfeiffer, feed-forward, parallel",
        ),
        ("compacter", {"bottleneck": 30}, "strategy.bottleneck=30: allowed are multiples of strategy.n=4"),
        ("compacter", {"plus_place": "houlsby"}, "strategy.plus_place=houlsby: allowed are pfeiffer, feed-forward"),
        ("compacter", {"n": 0}, "strategy.n=0: allowed is 1 or more"),
        ("prefix", {"length": 0}, "strategy.length=0: allowed is 1 or more"),
        ("prompt", {"length": 0}, "strategy.length=0: allowed is 1 or more"),
        ("prefix", {"mlp": 0}, "strategy.mlp=0: allowed is 1 or more, or null"),
        ("mam", {"bottleneck": 0}, "strategy.bottleneck=0: allowed is 1 or more"),
        ("mam", {"length": 0}, "strategy.length=0: allowed is 1 or more"),
        ("adapterdrop", {"bottleneck": 0}, "strategy.bottleneck=0: allowed is 1 or more"),
        ("adapterdrop", {"robust": "often"}, "strategy.robust=often: allowed are true, false"),
        ("adapterbias", {"share": 1}, "strategy.share=1: allowed are true, false"),
        ("prefix", {"dropout": 1.0}, "strategy.dropout=1.0: allowed is from 0 to below 1"),
    ],
)
def test_options_out_of_range_are_refused(name, options, message):
    with pytest.raises(UserError, match=message):
        create_strategy(name, options)


@pytest.mark.parametrize(
    ("kind", "name", "options", "reason"),
    [
        ("opt", "adapter", {"placement": "parallel"}, "its layers have no site for placement=parallel"),
        ("mpnet", "prefix", {}, "the self-attention of its layers takes no keys and values"),
        ("deberta", "mam", {}, "the self-attention of its layers takes no keys and values"),
        ("opt", "mam", {}, "the feed-forward of its layers is no module to stand beside"),
        ("opt", "adapterdrop", {"placement": "parallel"}, "its layers have no site for placement=parallel"),
        ("albert", "adapterdrop", {}, "it has one layer with weights of its own, which cannot go without"),
    ],
)
def test_a_method_that_does_not_fit_an_architecture_says_why(kind, name, options, reason):
    strategy = create_strategy(name, options)
    assert strategy.skip(tiny(kind).view, None) == reason
    assert strategy.skip(tiny("bert").view, None) is None


def test_an_option_that_does_not_fit_the_backbone_is_refused():
    with pytest.raises(UserError, match=r"strategy.n=5: allowed are divisors of the hidden size, 32"):
        create_strategy("compacter", {"n": 5, "bottleneck": 5}).check(tiny())


@pytest.mark.parametrize("init", ["normal", "near-identity", "identity"])
def test_adapters_start_as_their_init_says(init):
    torch.manual_seed(0)
    attached = create_strategy("adapter", {"init": init}).attach(tiny())
    up = torch.cat([p.flatten() for name, p in attached.tuned().items() if name.endswith("up.weight")])
    deviation = {"normal": 0.02, "near-identity": 8.8e-4, "identity": 0.0}[init]
    assert float(up.detach().std()) == pytest.approx(deviation, rel=0.05)
    assert all(not p.any() for name, p in attached.tuned().items() if name.endswith("bias"))


def test_the_rule_is_one_parameter_of_the_whole_model():
    backbone = tiny()
    attached = create_strategy("compacter", {}).attach(backbone)
    assert [name for name in attached.tuned() if name.endswith("rule")] == ["layers.0.attention_end.adapter.down.rule"]
    assert len({id(p) for name, p in backbone.model.named_parameters(remove_duplicate=False) if "rule" in name}) == 1


@pytest.mark.parametrize(("room", "refused"), [("strategy.length=208", False), ("strategy.length=209", True)])
def test_a_shifted_prefix_and_the_text_share_the_positions(room, refused, tmp_path):
    config = small(f"strategy.mlp=null strategy.shift=true {room} data.cache_dir=null", strategy="prefix")
    if refused:
        with pytest.raises(UserError, match=r"data\.max_length=48: strategy prefix takes 209 of the 256 positions"):
            run(config, tmp_path)
    else:
        run(config, tmp_path)


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert"])
@pytest.mark.parametrize(("place", "cut"), [("second", 1), ("first", 0)])
def test_a_prompt_of_words_is_the_text_with_these_words(kind, place, cut):
    torch.manual_seed(0)
    backbone = tiny(kind)
    inputs = batch(backbone)
    words = torch.tensor([7, 9, 8])
    attached = create_strategy("prompt", {"length": 3, "place": place}).attach(backbone)
    attached.load_delta({**attached.delta(), "prompts.tokens": backbone.model.get_input_embeddings().weight[words]})
    prompted = logits(backbone, inputs)
    attached.detach()

    def among(text, inserted):
        return torch.cat([text[:, :cut], inserted.expand(len(text), -1), text[:, cut:]], dim=1)

    mask = among(inputs["attention_mask"], torch.ones(3, dtype=torch.long))
    written = {"input_ids": among(inputs["input_ids"], words), "attention_mask": mask}
    torch.testing.assert_close(prompted, logits(backbone, written), rtol=1e-5, atol=1e-6)


def test_mix_and_match_is_the_prefix_and_the_parallel_adapter_together():
    torch.manual_seed(0)
    backbone = tiny()
    joint = create_strategy("mam", {"length": 3, "mlp": None, "bottleneck": 4}).attach(backbone)
    with torch.no_grad():
        for parameter in joint.tuned().values():
            parameter.normal_(0.0, 0.1)
    delta, inputs = joint.delta(), batch(backbone)

    other = tiny()
    parts = {
        "prefix": create_strategy("prefix", {"length": 3, "mlp": None}),
        "adapter": create_strategy(
            "adapter",
            {"placement": "parallel", "bottleneck": 4, "scale": 4.0, "nonlinearity": "relu", "init": "identity"},
        ),
    }
    for strategy in parts.values():
        attached = strategy.attach(other)
        attached.load_delta({name: delta[name] for name in attached.delta()})
    assert torch.equal(logits(backbone, inputs), logits(other, inputs))
