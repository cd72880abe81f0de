"""A user's family of architectures costs one class in one file, outside the package."""

import pytest
import torch
from torch import nn

from models import batch, logits, output_layer
from peftlab.backbones.architecture import PROJECTIONS, Attention, Rows, architecture, known_types
from peftlab.backbones.loading import BackboneSpec, load_backbone
from peftlab.backbones.view import BackboneView
from peftlab.errors import UserError
from peftlab.heads.outputs import head_outputs
from peftlab.layers.head_rows import HeadRowsLinear
from peftlab.output_layer import OutputLayer
from peftlab.registry import load_plugins

LABELS = ("yes", "no")
HEADS = range(4)


@pytest.fixture(autouse=True)
def _own():
    load_plugins(["plugins.toy_architecture"])


def toy(labels=LABELS, seed=1, **sizes):
    return load_backbone(BackboneSpec("toy", random={"model_type": "toy", **sizes}), output_layer(labels), seed)


def outputs_of_heads(backbone):
    """Return what the heads of the first layer give, [B, S, H, D']."""
    found = {}
    with head_outputs(backbone.view, found.__setitem__):
        logits(backbone, batch(backbone))
    return found[0]


def test_it_is_found_by_the_type_of_its_config_beside_those_of_the_house():
    assert {"bert", "distilbert", "electra", "roberta", "toy", "xlm-roberta"} <= set(known_types())
    assert architecture("toy").name == "toy"


def test_it_is_loaded_with_the_tasks_output_layer_and_an_identity():
    backbone, other = toy(), toy(("a", "b", "c"), seed=2)
    view = backbone.view
    assert logits(backbone, batch(backbone)).shape == (6, 2)
    assert logits(other, batch(other)).shape == (6, 3)
    assert backbone.fingerprint == other.fingerprint
    assert (view.num_layers, view.num_heads, view.head_dim, view.hidden_size) == (2, 4, 8, 24)
    assert view.norm == "pre"
    assert backbone.size == backbone.model.num_parameters() - 2 * 24
    assert backbone.processor.model_max_length > 10**9


def test_a_folder_of_its_files_is_loaded_as_it_was_saved(tmp_path):
    backbone = toy()
    backbone.model.save_pretrained(tmp_path)
    backbone.processor.save_pretrained(tmp_path)
    again = load_backbone(BackboneSpec("own", path=str(tmp_path)), output_layer(LABELS), 1)
    assert again.fingerprint == backbone.fingerprint
    assert torch.equal(logits(again, batch(again)), logits(backbone, batch(backbone)))


@pytest.mark.parametrize("which", PROJECTIONS)
@pytest.mark.parametrize("head", HEADS)
def test_the_rows_of_a_head_move_the_heads_that_share_them_and_no_other(which, head):
    backbone = toy()
    before = outputs_of_heads(backbone)
    name, rows = backbone.view.head_rows(0, which, [head])
    assert name == "model.layers.0.qkv"
    with torch.no_grad():
        backbone.model.get_submodule(name).weight[rows] += torch.randn(len(rows), 24)
    moved = (outputs_of_heads(backbone) - before).abs().amax((0, 1, 3))
    sharing = {head} if which == "query" else {other for other in HEADS if other // 2 == head // 2}
    assert {other for other in HEADS if moved[other] > 0} == sharing


@pytest.mark.parametrize(
    ("which", "heads", "first"),
    [
        ("query", [0, 3], [0, 24]),
        ("key", [0, 1], [32]),  # both read the first key head
        ("key", [3, 0], [32, 40]),
        ("value", [2, 3], [56]),
    ],
)
def test_a_shared_head_counts_once_and_rows_ascend(which, heads, first):
    _, rows = toy().view.head_rows(1, which, heads)
    assert rows.tolist() == [row for start in first for row in range(start, start + 8)]


def test_the_rows_of_chosen_heads_can_be_tuned_in_the_fused_matrix():
    backbone = toy()
    view, given = backbone.view, batch(backbone)
    before = logits(backbone, given)
    name, _ = view.head_rows(0, "query", [1])
    rows = torch.cat([view.head_rows(0, which, [1])[1] for which in PROJECTIONS])
    frozen = backbone.model.requires_grad_(False).get_submodule(name)
    module = HeadRowsLinear(frozen, rows, axis=view.axis("query"))
    backbone.model.set_submodule(name, module)
    assert torch.equal(logits(backbone, given), before)
    backbone.model(**given).loss.backward()
    assert module.weight_rows.grad.shape == (3 * 8, 24)
    assert (module.weight_rows.grad != 0).any(1).all()


def test_a_fused_matrix_is_named_once():
    view = toy().view
    assert view.projection_names(*PROJECTIONS) == ["model.layers.0.qkv", "model.layers.1.qkv"]


def test_a_site_and_an_output_layer_that_it_lacks_are_refused_in_one_line():
    view = toy().view
    assert not view.has("self_attention")
    with pytest.raises(UserError, match="the layers of 'toy' have no place for a module at self_attention"):
        view.at(0, "self_attention")
    with pytest.raises(UserError, match="the positions of 'toy' cannot be shifted"):
        view.shift_positions(3)
    spec = BackboneSpec("toy", random={"model_type": "toy"})
    message = "no output layer for question answering on toy; it has those for sequence classification"
    with pytest.raises(UserError, match=message):
        load_backbone(spec, OutputLayer("AutoModelForQuestionAnswering"), 1)


WRONG = [
    (lambda size: Rows("qkv", 0, 4, 2 * size), "4 query heads of 16 in .*, the output projection reads 4 of 8"),
    (lambda size: Rows("qkv", 100, 4, size), r"4 query heads of 8 in \(64, 24\)"),
    (lambda size: Rows("qkv", 0, 3, size), "3 query heads cannot share 2 key heads"),
]


@pytest.mark.parametrize(("query", "message"), WRONG)
def test_facts_that_do_not_fit_the_model_are_refused_in_one_line(query, message, monkeypatch):
    model, family = toy().model, type(architecture("toy"))
    key, value = Rows("qkv", 32, 2, 8), Rows("qkv", 48, 2, 8)
    monkeypatch.setattr(family, "attention", lambda self, config: Attention(query(8), key, value, "output"))
    with pytest.raises(UserError, match=f"architecture toy does not fit this 'toy': {message}"):
        BackboneView(model)


@pytest.mark.parametrize(
    ("rows", "heads", "expected"),
    [
        (Rows("m", 0, 4, 2), [1, 3], [2, 3, 6, 7]),
        (Rows("m", 8, 4, 2), [0], [8, 9]),  # the second part of [query, key, value]
        (Rows("m", 2, 4, 2, step=6), [0, 2], [2, 3, 14, 15]),  # the keys where each head has [query, key, value]
    ],
)
def test_rows_lie_one_head_after_the_other_or_with_steps_between(rows, heads, expected):
    assert rows.of(heads).tolist() == expected
    assert rows.end == max(rows.of(range(4))) + 1


def test_the_output_layer_has_no_bias_to_draw():
    assert isinstance(toy().model.score, nn.Linear)
    assert toy().model.score.bias is None


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"model_types": ("toy", "bert")}, "architectures bert and toy both serve 'bert'; allowed is one"),
        ({"output_layers": {"AutoModelForDreams": ("score",)}}, r"transformers \S+ has no AutoModelForDreams"),
    ],
)
def test_facts_that_contradict_others_are_refused_in_one_line(facts, message, monkeypatch):
    family = type(architecture("toy"))
    for name, value in facts.items():
        monkeypatch.setattr(family, name, value)
    kind = family.model_types[-1]
    with pytest.raises(UserError, match=message):
        load_backbone(BackboneSpec("own", random={"model_type": kind}), OutputLayer("AutoModelForDreams"), 1)
