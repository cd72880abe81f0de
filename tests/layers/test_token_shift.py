"""AdapterBias in numbers: its formula, its start, and what its layers may share."""

import torch
from torch import nn

from models import tiny
from peftlab.layers.placement import ShiftedFeedForward
from peftlab.layers.token_shift import TokenShift
from peftlab.strategies.registry import create_strategy

NORMS = ("embeddings", "encoder.layer.0.output", "encoder.layer.1.output")


def test_each_token_is_shifted_along_the_vector_as_far_as_its_inner_values_say():
    torch.manual_seed(0)
    output = tiny().model.bert.encoder.layer[0].output.eval()
    shift = TokenShift(nn.Linear(64, 1), 32)
    shift.vector.data.normal_()
    inner, residual = torch.randn(2, 5, 64), torch.randn(2, 5, 32)
    found = ShiftedFeedForward(output, shift)(inner, residual)
    for row in range(2):
        for token in range(5):
            alpha = inner[row, token] @ shift.alpha.weight[0] + shift.alpha.bias
            expected = output.LayerNorm(output.dense(inner[row, token]) + alpha * shift.vector + residual[row, token])
            torch.testing.assert_close(found[row, token], expected, rtol=1e-5, atol=1e-5)


def test_the_shift_is_not_dropped_out_with_the_feed_forward():
    output = tiny().model.bert.encoder.layer[0].output
    output.dropout.p = 1.0
    shift = TokenShift(nn.Linear(64, 1), 32)
    shift.vector.data.normal_()
    inner, residual = torch.randn(2, 5, 64), torch.randn(2, 5, 32)
    expected = output.LayerNorm(residual + shift(inner))
    torch.testing.assert_close(ShiftedFeedForward(output, shift).train()(inner, residual), expected)


def test_it_starts_as_its_authors_model_does():
    torch.manual_seed(0)
    tuned = create_strategy("adapterbias", {}).attach(tiny(intermediate_size=512)).tuned()
    alpha = torch.cat([p.detach().flatten() for name, p in tuned.items() if name.endswith("alpha.weight")])
    assert 0.018 < float(alpha.std()) < 0.022
    assert not any(p.any() for name, p in tuned.items() if name.endswith(("alpha.bias", "vector")))


def test_layers_share_one_linear_function_where_they_are_asked_to():
    attached = create_strategy("adapterbias", {"share": True, "layer_norms": False}).attach(tiny())
    first = "layers.0.feed_forward_output.adapter.alpha"
    assert [name for name in attached.tuned() if "alpha" in name] == [f"{first}.weight", f"{first}.bias"]
    assert sum(name.endswith("vector") for name in attached.tuned()) == 2


def test_the_layer_norms_after_attention_stay_as_they_are():
    backbone = tiny()
    attached = create_strategy("adapterbias", {}).attach(backbone)
    norms = {name for name in attached.tuned() if "LayerNorm" in name}
    assert norms == {f"bert.{place}.LayerNorm.{part}" for place in NORMS for part in ("weight", "bias")}
