"""Families that read images: HiFi's scores, what it tunes and what it leaves, against transformers alone; refusals."""

import copy
import json

import pytest
import torch
from own_rows import tunes_its_rows_alone_and_merges
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    CLIPImageProcessorPil,
    CLIPModel,
    DeiTForImageClassification,
    SiglipImageProcessorPil,
    SiglipModel,
    ViTImageProcessorPil,
)

import peftlab
from models import SIZES, batch, tiny, tiny_spec
from peftlab.backbones.architecture import architecture, known_types
from peftlab.backbones.fingerprint import fingerprint
from peftlab.backbones.loading import Backbone, BackboneSpec, load_backbone
from peftlab.backbones.view import BackboneView
from peftlab.check.essentials import plain_model
from peftlab.check.small import loss_of
from peftlab.errors import UserError
from peftlab.heads.scoring import score_heads
from peftlab.heads.selection import ChosenHeads
from peftlab.output_layer import IMAGE_CLASSIFICATION, classes, image_classes
from peftlab.strategies.registry import create_strategy

KINDS = [kind for kind in known_types() if architecture(kind).reads == "images"]
PATCHES = {"vit": 17, "deit": 18, "dinov2": 17, "clip": 17, "siglip": 16}  # 4 x 4 of 2 x 2, and tokens beside them


def images(backbone: Backbone, number: int = 3) -> dict[str, torch.Tensor]:
    return {"pixel_values": batch(backbone, seed=3, size=number)["pixel_values"]}


def reference_richness(backbone: Backbone, inputs: dict[str, torch.Tensor], xi: float) -> torch.Tensor:
    """Eq. 2 and 3 by a float64 SVD head by head over all patches and special tokens, from eager attention."""
    model = plain_model(backbone)
    outputs = [
        module for name, module in model.named_modules() if name.endswith(("attention.o_proj", "self_attn.out_proj"))
    ]
    caught: list[torch.Tensor] = []
    for module in outputs:
        module.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    with torch.no_grad():
        model(**inputs)
    heads = getattr(model.config, "vision_config", model.config).num_attention_heads
    total = torch.zeros(len(outputs), heads, dtype=torch.float64)
    for layer, given in enumerate(caught):
        assert given.shape[1] == PATCHES[model.config.model_type]
        for row in given:
            for head, own in enumerate(row.double().chunk(heads, dim=-1)):
                values = torch.linalg.svdvals(own)
                total[layer, head] += 1 + int((values.cumsum(0) / values.sum() < xi).sum())
    return total / len(inputs["pixel_values"])


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_a_float64_svd_over_the_patches_and_count_images(kind: str) -> None:
    backbone = tiny(kind, attention="auto")
    inputs = images(backbone)
    found = score_heads(backbone, [{**inputs, "index": torch.arange(3)}], 0.9)
    assert torch.equal(found.richness, reference_richness(backbone, inputs, 0.9))
    assert (found.examples, found.sequences) == (3, 3)
    assert architecture(kind).position_limit(backbone.model) == PATCHES[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_hifi_tunes_its_rows_leaves_all_others_bit_for_bit_and_merges_into_transformers_own_model(kind: str) -> None:
    backbone, untouched = tiny(kind, attention="auto"), plain_model(tiny(kind, attention="auto"))
    tunes_its_rows_alone_and_merges(backbone, untouched, images(backbone))


@pytest.mark.parametrize("kind", KINDS)
def test_the_fingerprint_depends_neither_on_the_labels_nor_on_the_seed(kind: str) -> None:
    assert tiny(kind, ("a", "b", "c"), seed=5).fingerprint == tiny(kind).fingerprint


# As conf/backbone/ says. Patches of 16 x 16, beside 85,054,464 of the layers: embeddings (a token and 196 positions,
# SigLIP's without the token), norms and what pools; ViT's is without its pooler.
BASE_SIZES = [
    ("vit", {}, 85_798_656),
    ("clip", {"vision_config": {"patch_size": 16}}, 85_799_424),
    ("siglip", {}, 92_884_224),
]


@pytest.mark.parametrize(("kind", "sizes", "expected"), BASE_SIZES)
def test_hifi_tunes_as_many_weights_of_a_base_model_as_its_geometry_says(kind, sizes, expected) -> None:
    with torch.device("meta"):
        model = AutoModelForImageClassification.from_config(AutoConfig.for_model(kind, **sizes))
    view = BackboneView(model, IMAGE_CLASSIFICATION)
    size = sum(p.numel() for p in model.parameters()) - sum(p.numel() for _, p in view.classifier_parameters())
    assert size == expected
    backbone = Backbone(f"{kind}-base", model, None, view, "", size)  # type: ignore[arg-type]
    attached = create_strategy("hifi", {}).attach(backbone, ChosenHeads(((0, 1, 2),) * view.num_layers))
    # k = 3 heads of 64 rows in each of Q, K and V: 576 rows; 576 x 768 x 12 layers
    assert sum(parameter.numel() for parameter in attached.tuned().values()) == 5_308_416


def test_deit_is_classified_by_its_first_token_whatever_its_config_was_saved_for(tmp_path) -> None:
    config = AutoConfig.for_model(**tiny_spec("deit").random, architectures=["DeiTForImageClassificationWithTeacher"])
    model = AutoModelForImageClassification.from_config(config)
    model.save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(tmp_path)
    found = load_backbone(BackboneSpec("deit", path=str(tmp_path)), image_classes(("yes", "no")), 1)
    assert type(found.model) is DeiTForImageClassification
    assert torch.equal(found.model.deit.embeddings.distillation_token, model.deit.embeddings.distillation_token)


TOWERS = [
    ("clip", CLIPModel, CLIPImageProcessorPil, {"size": {"shortest_edge": 8}, "crop_size": {"height": 8, "width": 8}}),
    ("siglip", SiglipModel, SiglipImageProcessorPil, {"size": {"height": 8, "width": 8}}),
]


@pytest.fixture(params=TOWERS, ids=lambda tower: tower[0])
def tower(request, tmp_path):
    """A model of two towers with an untouched backbone of its images' tower, and a folder with both and a processor."""
    kind, model_class, processor_class, sizes = request.param
    alone = tiny(kind, kernels=False)
    config = copy.deepcopy(alone.model.config)
    config.text_config = type(config.text_config)(
        **{**SIZES, "num_hidden_layers": 1, "vocab_size": 9, "bos_token_id": 2, "eos_token_id": 3}
    )
    whole = model_class(config).eval()
    whole.vision_model.load_state_dict(alone.view.base.state_dict())
    processor_class(**sizes).save_pretrained(tmp_path)
    return whole, alone, tmp_path


def test_weights_of_both_towers_and_of_the_images_alone_are_one_backbone(tower) -> None:
    whole, alone, folder = tower
    found = []
    for model in (whole, alone.model):
        model.save_pretrained(folder)
        found.append(load_backbone(BackboneSpec("own", path=str(folder), kernels=False), image_classes(("a", "b")), 1))
    inputs, classifier = images(alone), found[0].view.classifier_modules()[0]
    for backbone in found:
        assert (backbone.fingerprint, backbone.size) == (fingerprint(alone.model), alone.size)
        with torch.no_grad():
            # CLIP's first token is for texts; SigLIP has none.
            states = whole.vision_model(**inputs).last_hidden_state[:, -16:]
            torch.testing.assert_close(backbone.model(**inputs).logits, classifier(states.mean(1)))


def test_heads_of_a_users_own_model_of_two_towers_are_those_of_its_images(tower) -> None:
    whole, alone, _ = tower
    batches = [{**images(alone, 4), "input_ids": torch.ones(4, 3, dtype=torch.long)}]
    found, expected = (peftlab.select_heads(model, None, batches, k=2) for model in (whole, alone.model))
    assert torch.equal(found.scores.richness, expected.scores.richness)


@pytest.mark.parametrize("kind", ["dinov2", "clip", "siglip"])
@pytest.mark.parametrize("strategy", ["full", "bitfit", "diff-pruning"])
def test_what_no_output_layer_reads_is_not_tuned(kind: str, strategy: str) -> None:
    backbone = tiny(kind)
    attached = create_strategy(strategy, {}).attach(backbone)
    loss_of(backbone, batch(backbone)).backward()
    assert [name for name, parameter in attached.tuned().items() if parameter.grad is None] == []


REFUSALS = [
    ({"size": {"height": 16, "width": 16}}, r"its images are \[3, 16, 16\] .*, the model reads \[3, 8, 8\]$"),
    ({"image_mean": [0.5], "image_std": [0.5]}, r"its images are \[1, 8, 8\] .*, the model reads \[3, 8, 8\]$"),
]


@pytest.mark.parametrize(("changed", "told"), REFUSALS)
def test_an_image_processor_of_another_size_is_refused_before_training(tmp_path, changed, told) -> None:
    backbone = tiny("vit")
    backbone.model.save_pretrained(tmp_path)
    backbone.processor.save_pretrained(tmp_path)
    assert load_backbone(BackboneSpec("own", path=str(tmp_path)), image_classes(("yes", "no")), 1)
    file = tmp_path / "preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changed}))
    with pytest.raises(UserError, match=told):
        load_backbone(BackboneSpec("own", path=str(tmp_path)), image_classes(("yes", "no")), 1)


@pytest.mark.parametrize(("kind", "layer"), [("vit", classes(("a", "b"))), ("bert", image_classes(("a", "b")))])
def test_texts_on_a_model_of_images_and_the_reverse_are_refused_in_one_line(kind, layer) -> None:
    with pytest.raises(UserError, match=rf"no output layer for \w+ classification on {kind}; it has those for"):
        load_backbone(tiny_spec(kind), layer, 1)


HOSTILE = [
    ({"image_size": 0}, "backbone=tiny-vit: its image processor takes no image"),
    ({"patch_size": 0}, "backbone.random: "),
    ({"image_size": "large"}, "backbone.random: "),
    ({"image_size": 8000, "patch_size": 100}, "images of 8,000 pixels a side; allowed are 4,096"),
]


@pytest.mark.parametrize(("changed", "told"), HOSTILE)
def test_sizes_that_make_no_model_are_refused_in_one_line(changed, told) -> None:
    with pytest.raises(UserError, match=told) as caught:
        load_backbone(tiny_spec("vit", **changed), image_classes(("yes", "no")), 1)
    assert "\n" not in str(caught.value)


def test_heads_of_a_users_own_model_are_chosen_by_batches_of_pixels() -> None:
    backbone = tiny("vit", kernels=False)
    inputs = images(backbone, 4)
    found = peftlab.select_heads(backbone.model, None, [inputs], k=2)
    scores = score_heads(backbone, [{**inputs, "index": torch.arange(4)}], 0.9)
    assert torch.equal(found.scores.richness, scores.richness)
