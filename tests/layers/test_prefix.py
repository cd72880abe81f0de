"""Prefix attention against softmax written out, under every kernel and mask; where a shifted text's positions begin."""

import pytest
import torch

from models import batch, logits, tiny
from peftlab.layers.prefix import FlatPrefix, MadePrefix, PrefixAttention, Trunk

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
    geometry, inputs = backbone.geometry, batch(backbone)
    if not padded:
        inputs["input_ids"].clamp_(min=5)
        inputs["attention_mask"].fill_(1)
    frozen, prefix = geometry.at(0, "self_attention"), FlatPrefix(torch.randn(LENGTH, 2 * WIDTH))
    seen = {}
    frozen.query.register_forward_hook(lambda module, given, _: seen.update(hidden=given[0]))
    geometry.replace(0, "self_attention", PrefixAttention(frozen, prefix, HEADS).eval())
    geometry.head_output(0).register_forward_pre_hook(lambda module, given: seen.update(output=given[0]))
    logits(backbone, inputs)
    expected = written_out(frozen, prefix(), seen["hidden"], inputs["attention_mask"])
    torch.testing.assert_close(seen["output"], expected, rtol=1e-5, atol=1e-6)


def test_layers_of_their_own_are_slices_of_one_mlp():
    torch.manual_seed(0)
    trunk = Trunk(LENGTH, WIDTH, 7)
    layers = [MadePrefix(trunk, WIDTH) for _ in range(2)]
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
    undo = backbone.geometry.shift_positions(4)
    shifted = logits(backbone, inputs)
    undo()
    padding = backbone.model.config.pad_token_id
    positions = (mask.cumsum(1) + 4) * mask + padding if kind == "roberta" else torch.arange(4, 4 + length)[None]
    with torch.no_grad():
        expected = backbone.model(inputs["input_ids"], mask, position_ids=positions).logits
    assert torch.equal(shifted, expected)
    assert torch.equal(logits(backbone, inputs), before)
