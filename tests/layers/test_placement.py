"""Each placement puts an adapter where its formula says, on every architecture that has the place."""

import pytest
import torch
from torch import nn

from models import batch, logits, tiny
from peftlab.layers.placement import has_sites, place

PLACES = {"houlsby": 4, "pfeiffer": 2, "feed-forward": 2, "parallel": 2}


class Zero(nn.Module):
    def forward(self, inputs):
        return torch.zeros_like(inputs)


class Times(nn.Module):
    def forward(self, inputs):
        return 0.5 * inputs


class Layer(nn.Module):
    def __init__(self, given):
        super().__init__()
        self.given = given

    def forward(self, hidden):
        return self.given(hidden)


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert", "llama", "opt"])
@pytest.mark.parametrize("placement", PLACES)
def test_an_adapter_that_gives_nothing_changes_nothing(kind, placement):
    backbone = tiny(kind)
    if not has_sites(backbone.view, placement):
        assert (kind, placement) == ("opt", "parallel")
        return
    inputs = batch(backbone)
    before = logits(backbone, inputs)
    placed = place(backbone.view, placement, Zero)
    assert len(placed) == PLACES[placement]
    for (layer, where), module in placed.items():
        backbone.view.replace(layer, where, module)
    assert torch.equal(logits(backbone, inputs), before)


def test_placements_compute_their_formulas():
    backbone = tiny()
    x, h = torch.randn(2, 5, 32), torch.randn(2, 5, 32)
    inner = torch.randn(2, 5, 64)
    output = backbone.model.bert.encoder.layer[1].output.eval()
    norm, dense = output.LayerNorm, output.dense
    made = {name: place(backbone.view, name, Times) for name in PLACES}
    after = made["houlsby"][1, "feed_forward_end"].eval()
    torch.testing.assert_close(after(h), 1.5 * h)
    assert list(made["feed-forward"]) == [(0, "feed_forward_end"), (1, "feed_forward_end")]
    torch.testing.assert_close(made["feed-forward"][1, "feed_forward_end"].eval()(h), 1.5 * h)
    around = made["pfeiffer"][1, "feed_forward_norm"]
    torch.testing.assert_close(around(x), norm(x + 0.5 * norm(x)))
    beside = made["parallel"][1, "feed_forward_output"].eval()
    torch.testing.assert_close(beside(inner, x), norm(dense(inner) + 1.5 * x))


def test_where_norms_stand_before_placements_compute_their_formulas():
    view, x = tiny("llama").view, torch.randn(2, 5, 32)
    beside = place(view, "parallel", Times)[1, "feed_forward"]
    torch.testing.assert_close(beside(x), view.at(1, "feed_forward")(x) + 0.5 * x)
    after = place(view, "pfeiffer", Times)[1, "layer"]
    assert after.frozen is view.layer(1)
    for given in (torch.Tensor.clone, lambda hidden: (hidden.clone(), "weights")):
        after.frozen = Layer(given)
        found = after(x)
        torch.testing.assert_close(found[0] if isinstance(found, tuple) else found, 1.5 * x)
        assert not isinstance(found, tuple) or found[1:] == ("weights",)


def test_a_dropped_adapter_is_not_even_asked():
    class Never(nn.Module):
        def forward(self, inputs):
            raise AssertionError

    backbone = tiny()
    x = torch.randn(2, 5, 32)
    placed = place(backbone.view, "pfeiffer", Never)
    for module in placed.values():
        assert not module.dropped
        module.dropped = True
        assert torch.equal(module.eval()(x), module.frozen(x))


def test_every_layer_has_the_places_of_its_placement():
    view = tiny().view
    for name, places in {
        "houlsby": ("attention_end", "feed_forward_end"),
        "pfeiffer": ("feed_forward_norm",),
        "feed-forward": ("feed_forward_end",),
        "parallel": ("feed_forward_output",),
    }.items():
        placed = place(view, name, Zero)
        assert set(placed) == {(layer, where) for layer in range(2) for where in places}
        assert all(module.frozen is view.at(*key) for key, module in placed.items())
        assert len({id(module.adapter) for module in placed.values()}) == len(placed)
