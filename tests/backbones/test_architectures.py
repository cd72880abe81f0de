"""BackboneView knows where an architecture keeps its heads: shown by what moves when a head's rows are edited."""

import pytest
import torch
from small_models import small_spec, tiny
from torch import nn
from transformers import AutoConfig, AutoModelForSequenceClassification

from models import batch, logits
from peftlab.backbones.architecture import PROJECTIONS, architecture, known_types
from peftlab.backbones.loading import load_backbone
from peftlab.backbones.view import BackboneView
from peftlab.errors import UserError
from peftlab.output_layer import OutputLayer

# Table of section 1: base, classifiers for 1, 2 and 3 labels; counted from the released configurations.
BERT_BASE = {"vocab_size": 30522}
BERT_LARGE = {**BERT_BASE, "hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16}
ROBERTA_BASE = {"vocab_size": 50265, "max_position_embeddings": 514, "type_vocab_size": 1}
COUNTS = [
    ("bert", BERT_BASE, 109_482_240, (769, 1_538, 2_307)),
    ("bert", {**BERT_LARGE, "intermediate_size": 4096}, 335_141_888, (1_025, 2_050, 3_075)),
    ("roberta", ROBERTA_BASE, 124_055_040, (591_361, 592_130, 592_899)),
    (
        "roberta",
        {**BERT_LARGE, **ROBERTA_BASE, "intermediate_size": 4096},
        354_310_144,
        (1_050_625, 1_051_650, 1_052_675),
    ),
]


@pytest.mark.parametrize(("kind", "options", "base", "classifiers"), COUNTS)
def test_base_and_classifier_have_the_published_sizes(kind, options, base, classifiers):
    for labels, classifier in enumerate(classifiers, start=1):
        with torch.device("meta"):
            config = AutoConfig.for_model(kind, **options, num_labels=labels)
            model = AutoModelForSequenceClassification.from_config(config)
        named = dict(BackboneView(model).classifier_parameters())
        assert sum(p.numel() for p in named.values()) == classifier
        assert model.num_parameters() - classifier == base
        assert all(model.get_parameter(name) is parameter for name, parameter in named.items())


@pytest.mark.parametrize(
    ("k", "layers", "weights", "percent"), [(3, 24, 14_155_776, 4.2238), (3, 12, 7_077_888, 2.1119)]
)
def test_hifis_share_of_bert_large_follows_from_the_geometry(k, layers, weights, percent):
    with torch.device("meta"):
        config = AutoConfig.for_model("bert", **BERT_LARGE, intermediate_size=4096)
        view = BackboneView(AutoModelForSequenceClassification.from_config(config))
    assert (view.num_layers, view.num_heads, view.head_dim) == (24, 16, 64)
    tuned = sum(
        k * view.head_dim * view.projection(layer, which).in_features
        for layer in range(layers)
        for which in PROJECTIONS
    )
    assert tuned == weights
    assert 100 * tuned / 335_141_888 == pytest.approx(percent, abs=5e-5)


def head_outputs(backbone, layer):
    """Return the input of the attention output projection of one layer, [B, S, H, D']."""
    caught = []
    view = backbone.view
    handle = view.head_output(layer).register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
    with torch.no_grad():
        logits(backbone, batch(backbone, size=2))
    handle.remove()
    assert caught[0].shape[::2] == (2, view.num_heads * view.head_dim)
    return caught[0].unflatten(-1, (view.num_heads, view.head_dim))


ATTENTIONS = [
    (kind, attention)
    for kind in known_types()
    for attention in ("sdpa", "eager")
    if attention == "eager" or not architecture(kind).eager_only
]


@pytest.mark.parametrize("which", PROJECTIONS)
@pytest.mark.parametrize(("kind", "attention"), ATTENTIONS)
def test_the_rows_of_a_head_move_that_head_and_those_that_share_them_alone(kind, which, attention):
    backbone = tiny(kind, attention=attention)
    view, head = backbone.view, 2
    layer = view.num_layers - 1
    before = head_outputs(backbone, layer)
    name, rows = view.head_rows(layer, which, [head])
    assert backbone.model.get_submodule(name) is view.projection(layer, which)
    with torch.no_grad():
        matrix = view.projection(layer, which).weight.movedim(view.axis(which), 0)
        matrix[rows] += 10 * torch.randn(view.head_dim, view.hidden_size)
    moved = (head_outputs(backbone, layer) - before).abs().amax((0, 1, 3))
    assert moved[head] > 1e-4
    facts = architecture(kind).attention(backbone.model.config)
    sharing = {2, 3} if facts.rows(which).heads == 2 else {2}
    if facts.normed_together and which != "value":
        sharing = {0, 1, 2, 3}
    assert set(moved.nonzero().flatten().tolist()) == sharing


# One layer serves all depths of ALBERT: its output projection is every other's too.
@pytest.mark.parametrize("kind", sorted({*known_types()} - {"albert"}))
def test_the_last_layers_head_outputs_are_what_its_output_projection_reads(kind):
    backbone = tiny(kind)
    with torch.no_grad():
        backbone.view.head_output(0).weight.zero_()
    earlier, later = head_outputs(backbone, 0), head_outputs(backbone, 1)
    with torch.no_grad():
        backbone.view.projection(0, "value").weight.zero_()
    assert not torch.equal(head_outputs(backbone, 0), earlier)
    assert torch.equal(head_outputs(backbone, 1), later)


@pytest.mark.parametrize("kind", known_types())
def test_a_projection_can_be_replaced(kind):
    view = tiny(kind).view
    for which in PROJECTIONS:
        module = nn.Linear(32, 32)
        last = view.num_layers - 1
        view.replace_projection(last, which, module)
        held = [view.projection(layer, which) is module for layer in range(view.num_layers)]
        assert held == [layer == last for layer in range(view.num_layers)]


OUTPUT_LAYERS = [(kind, auto_class) for kind in known_types() for auto_class in architecture(kind).output_layers]


@pytest.mark.parametrize(("kind", "auto_class"), OUTPUT_LAYERS)
def test_the_output_layer_is_all_that_lies_outside_the_base_model_and_that_alone(kind, auto_class):
    backbone = load_backbone(small_spec(kind), OutputLayer(auto_class, {"num_labels": 2}), 1)
    model, view = backbone.model, backbone.view
    base = {id(parameter) for parameter in view.base.parameters()}
    outside = {name for name, parameter in model.named_parameters() if id(parameter) not in base}
    assert outside == {name for name, _ in view.classifier_parameters()}
    held = [id(parameter) for module in view.classifier_modules() for parameter in module.parameters()]
    assert held == [id(parameter) for _, parameter in view.classifier_parameters()]


@pytest.mark.parametrize("kind", ["bart", "bloom", ""])
def test_an_architecture_whose_heads_are_not_known_is_refused_in_one_line(kind):
    with pytest.raises(UserError, match=rf"'{kind}' .*known: albert, bert, camembert, clip, deberta, ") as caught:
        architecture(kind)
    assert "\n" not in str(caught.value)


def test_a_model_of_an_unknown_architecture_has_no_geometry():
    config = AutoConfig.for_model("bloom", n_layer=1, n_head=2, hidden_size=8, vocab_size=11)
    with pytest.raises(UserError, match="bloom"):
        BackboneView(AutoModelForSequenceClassification.from_config(config))
