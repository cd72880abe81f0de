"""Prefix attention against softmax written out, under every kernel and mask; where a shifted text's positions begin."""

import pytest
import torch

from models import batch, logits, tiny
from peftlab.layers.prefix import FlatPrefix, PrefixAttention, ReparameterizedPrefix, Trunk, attend_with_prefix

HEADS, WIDTH, LENGTH = 4, 32, 3


def written_out(attention, prefix, hidden, mask):
    """Return softmax(Q [P_k; K]^T / sqrt(D')) [P_v; V] with padded keys left out."""

    def heads(values):
        return values.unflatten(-1, (HEADS, -1)).transpose(1, 2)

    keys, values = (part.expand(len(hidden), -1, -1) for part in prefix.chunk(2, dim=-1))
    keys = heads(torch.cat([keys, attention.key(hidden)], dim=1))
    values = heads(torch.cat([values, attention.value(hidden)], dim=1))
    scores = heads(attention.query(hidden)) @ keys.transpose(2, 3) / (WIDTH // HEADS) ** 0.5
    seen = torch.cat([torch.ones(len(mask), LENGTH), mask], dim=1).bool()[:, None, None, :]
    weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
    return (weights @ values).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
@pytest.mark.parametrize("padded", [True, False])
def test_every_token_attends_to_the_prefix_and_to_no_padding(kernel, kind, padded):
    torch.manual_seed(0)
    backbone = tiny(kind, attention=kernel)
    view, inputs = backbone.view, batch(backbone)
    if not padded:
        inputs["input_ids"].clamp_(min=5)
        inputs["attention_mask"].fill_(1)
    frozen, prefix = view.at(0, "self_attention"), FlatPrefix(torch.randn(LENGTH, 2 * WIDTH))
    seen = {}
    frozen.query.register_forward_hook(lambda module, given, _: seen.update(hidden=given[0]))
    module = PrefixAttention(frozen, prefix, HEADS).eval()
    view.replace(0, "self_attention", module)
    leave = module.join()
    view.head_output(0).register_forward_pre_hook(lambda module, given: seen.update(output=given[0]))
    logits(backbone, inputs)
    expected = written_out(frozen, prefix(), seen["hidden"], inputs["attention_mask"])
    torch.testing.assert_close(seen["output"], expected, rtol=1e-5, atol=1e-6)
    leave()
    view.replace(0, "self_attention", frozen)
    assert torch.equal(logits(backbone, inputs), logits(tiny(kind, attention=kernel), inputs))


def test_layers_of_their_own_are_slices_of_one_mlp():
    torch.manual_seed(0)
    trunk = Trunk(LENGTH, WIDTH, 7)
    layers = [ReparameterizedPrefix(trunk, WIDTH) for _ in range(2)]
    weight = torch.cat([layer.output.weight for layer in layers])
    bias = torch.cat([layer.output.bias for layer in layers])
    whole = torch.tanh(trunk.embedding @ trunk.linear.weight.T + trunk.linear.bias) @ weight.T + bias
    torch.testing.assert_close(torch.cat([layer() for layer in layers], dim=1), whole)


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra"])
def test_shifted_positions_begin_later(kind):
    backbone = tiny(kind)
    inputs = batch(backbone)
    mask, length = inputs["attention_mask"], inputs["input_ids"].shape[1]
    before = logits(backbone, inputs)
    undo = backbone.view.shift_positions(4)
    shifted = logits(backbone, inputs)
    undo()
    padding = backbone.model.config.pad_token_id
    positions = (mask.cumsum(1) + 4) * mask + padding if kind == "roberta" else torch.arange(4, 4 + length)[None]
    with torch.no_grad():
        expected = backbone.model(inputs["input_ids"], mask, position_ids=positions).logits
    assert torch.equal(shifted, expected)
    assert torch.equal(logits(backbone, inputs), before)


class Echo(torch.nn.Module):
    """A self-attention that gives back the prefix that it was given, and all else."""

    def forward(self, *inputs, prefix, **options):
        return prefix, inputs, options


def echo(module, query, key, value, mask, **options):
    """An attention function that gives back what it would attend to."""
    return key, value, mask, options


OWN = torch.zeros(2, HEADS, 5, WIDTH // HEADS)  # keys and values of two texts


def test_the_attention_gets_the_prefix_first_and_a_mask_that_shows_it():
    prefix, hidden = FlatPrefix(torch.randn(LENGTH, 2 * WIDTH)), torch.randn(2, 5, WIDTH)
    given, inputs, options = PrefixAttention(Echo(), prefix, HEADS)(hidden, speed=3)
    assert inputs == (hidden,)
    assert options == {"speed": 3}
    module = torch.nn.Module()
    *both, mask, options = attend_with_prefix(echo, module, OWN, OWN, OWN, None, prefix=given, **options)
    expected = [part.unflatten(-1, (HEADS, -1)).transpose(0, 1) for part in prefix().chunk(2, dim=-1)]
    for found, part in zip(both, expected, strict=True):
        assert found.shape == (2, HEADS, LENGTH + 5, WIDTH // HEADS)
        assert torch.equal(found[1, :, :LENGTH], part)
        assert not found[:, :, LENGTH:].any()
    assert mask is None
    assert options == {"speed": 3}
    for mask, shown in ((torch.zeros(2, 1, 5, 5).bool(), True), (torch.full((2, 1, 1, 5), -9.0), 0.0)):
        seen = attend_with_prefix(echo, module, OWN, OWN, OWN, mask, prefix=given)[2]
        assert torch.equal(seen[..., LENGTH:], mask)
        assert seen.shape == (*mask.shape[:-1], LENGTH + 5)
        assert (seen[..., :LENGTH] == shown).all()


def test_a_decoder_without_pads_sees_the_prefix_and_no_later_token():
    module = torch.nn.Module()
    module.is_causal = True
    seen = attend_with_prefix(echo, module, OWN, OWN, OWN, None, prefix=torch.ones(2, HEADS, LENGTH, WIDTH // HEADS))[2]
    earlier = torch.ones(5, 5, dtype=torch.bool).tril()
    assert torch.equal(seen[0, 0], torch.cat([torch.ones(5, LENGTH, dtype=torch.bool), earlier], dim=1))


def test_a_prefix_has_no_distance():
    bias, prefix = torch.randn(1, HEADS, 5, 5), torch.ones(2, HEADS, LENGTH, WIDTH // HEADS)
    options = attend_with_prefix(echo, torch.nn.Module(), OWN, OWN, OWN, None, prefix=prefix, position_bias=bias)[3]
    assert not options["position_bias"][..., :LENGTH].any()
    assert torch.equal(options["position_bias"][..., LENGTH:], bias)


def test_the_prefix_is_made_in_full_precision_and_given_in_that_of_the_text():
    prefix = ReparameterizedPrefix(Trunk(LENGTH, WIDTH, 7), WIDTH)
    module = PrefixAttention(Echo(), prefix, HEADS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made, *_ = module(torch.randn(2, 5, WIDTH, dtype=torch.bfloat16))
        keys, *_ = attend_with_prefix(echo, module, *[OWN.bfloat16()] * 3, None, prefix=made)
    assert (made.dtype, keys.dtype) == (torch.float32, torch.bfloat16)


def test_a_prefix_is_dropped_out_in_training_alone_and_only_where_asked():
    prefix = FlatPrefix(torch.ones(LENGTH, 2 * WIDTH))
    hidden = torch.randn(2, 5, WIDTH)
    torch.manual_seed(0)
    given = PrefixAttention(Echo(), prefix, HEADS, dropout=0.5).train()(hidden)[0]
    assert set(given.unique().tolist()) == {0.0, 2.0}
    assert PrefixAttention(Echo(), prefix, HEADS, dropout=0.5).eval()(hidden)[0].eq(1).all()
    assert PrefixAttention(Echo(), prefix, HEADS).train()(hidden)[0].eq(1).all()


def test_the_embeddings_of_a_trunk_are_normal_and_of_its_length():
    torch.manual_seed(0)
    trunk = Trunk(100, 200, 7)
    assert trunk.embedding.shape == (100, 200)
    assert float(trunk.embedding.detach().std()) == pytest.approx(1.0, rel=0.02)
    assert trunk().shape == (100, 7)
