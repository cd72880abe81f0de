"""Attention written out: torch's own, whatever the mask, the type and the pass."""

import pytest
import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from models import batch, tiny
from peftlab.kernels.attention import attention

B, H, S, T, D = 2, 3, 5, 7, 4
MODULE = nn.Module()
MODULE.is_causal = False
MASKS = {
    "none": None,
    "booleans": torch.arange(T)[None, None, None, :] < torch.tensor([4, 7])[:, None, None, None],
    "addends": torch.tensor([0.0] * 5 + [-1e30] * 2).expand(B, 1, S, T),
}


def inputs(dtype=torch.float32, grad=True):
    generator = torch.Generator().manual_seed(0)
    sizes = ((B, H, S, D), (B, H, T, D), (B, H, T, D))
    return [torch.randn(size, generator=generator).to(dtype).requires_grad_(grad) for size in sizes]


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("scaling", [None, 0.3])
def test_outputs_and_gradients_are_torchs(mask, scaling):
    mine, theirs = inputs(), inputs()
    outputs, _ = attention(MODULE, *mine, MASKS[mask], scaling=scaling)
    expected, _ = sdpa_attention_forward(MODULE, *theirs, MASKS[mask], scaling=scaling)
    assert outputs.shape == (B, S, H, D)
    torch.testing.assert_close(outputs, expected)
    upstream = torch.randn(outputs.shape)
    outputs.backward(upstream)
    expected.backward(upstream)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_in_bfloat16_it_is_as_near_to_float64_as_the_type_allows():
    exact, _ = attention(MODULE, *inputs(torch.float64), MASKS["booleans"])
    outputs, _ = attention(MODULE, *inputs(torch.bfloat16), MASKS["booleans"])
    assert outputs.dtype == torch.bfloat16
    torch.testing.assert_close(outputs.double(), exact, rtol=0, atol=0.02)


def test_dropout_falls_on_the_shares_and_its_mean_is_the_output_without():
    query, key, value = inputs(grad=False)
    expected, _ = attention(MODULE, query, key, value, None)
    torch.manual_seed(0)
    drawn = torch.stack([attention(MODULE, query, key, value, None, dropout=0.2)[0] for _ in range(300)])
    assert drawn.std(0).min() > 0.01
    off = (drawn.mean(0) - expected).abs() * 300**0.5 / drawn.std(0)
    assert off.max() < 6  # standard errors


@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert", "mpnet"])
@pytest.mark.parametrize("training", [False, True])
def test_a_model_gives_the_logits_and_gradients_that_torchs_attention_gives(kind, training):
    found = []
    for name in ("auto", "eager") if kind == "mpnet" else ("auto", "sdpa", "eager"):
        dropouts = {"attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0, "classifier_dropout": 0.0}
        silent = {"attention_dropout": 0.0, "dropout": 0.0, "seq_classif_dropout": 0.0}
        backbone = tiny(kind, attention=name, **(silent if kind == "distilbert" else dropouts))
        given = {key: value for key, value in batch(backbone).items() if key != "labels"}
        model = backbone.model.train(training)
        with torch.set_grad_enabled(training):
            logits = model(**given).logits
        if training:
            logits.square().sum().backward()
        found.append([logits, *(p.grad for p in model.parameters() if p.grad is not None)])
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)


def test_whoever_asks_mpnet_for_the_shares_of_its_attention_gets_them():
    backbone = tiny("mpnet")
    given = {key: value for key, value in batch(backbone).items() if key != "labels"}
    shares = backbone.model.mpnet(**given, output_attentions=True).attentions
    assert [tuple(layer.shape[-2:]) for layer in shares] == [(given["input_ids"].shape[1],) * 2] * len(shares)
    for layer in shares:
        torch.testing.assert_close(layer.sum(-1), torch.ones(layer.shape[:-1]))


def test_mpnets_bias_and_mask_are_added_up_once_for_all_layers():
    backbone, masks = tiny("mpnet"), []
    given = {key: value for key, value in batch(backbone).items() if key != "labels"}
    for layer in backbone.model.mpnet.encoder.layer:
        own = layer.attention.attn.attend
        layer.attention.attn.attend = lambda *args, own=own, **options: (masks.append(args[4]), own(*args, **options))[
            1
        ]
    backbone.model(**given)
    examples, length = given["input_ids"].shape
    assert len(masks) == len(backbone.model.mpnet.encoder.layer) > 1
    assert all(mask is masks[0] for mask in masks)
    assert masks[0].shape == (examples, backbone.view.num_heads, length, length)
