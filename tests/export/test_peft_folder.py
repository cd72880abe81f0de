"""A run's delta becomes a folder that stock peft loads, merges and trains on, without PEFT Lab."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from models import TEXTS, output_layer, tiny_spec
from peftlab.backbones.loading import load_backbone
from peftlab.delta.delta import save_delta
from peftlab.errors import UserError
from peftlab.export import command
from peftlab.export.peft_folder import export_peft
from peftlab.export.sparse import sparse_delta
from peftlab.masks.child_network import ChildNetwork
from peftlab.strategies.hifi import ChosenHeads
from peftlab.strategies.registry import create_strategy
from peftlab.strategies.restore import describe_delta

LABELS = ["no", "yes"]
HEADS = ChosenHeads(((0, 2), (3,)))


def run_of(name, options, folder: Path, kind: str = "bert", dtype: str = "float32"):
    """Save a delta whose every number was changed; return the tuned model's logits and an untouched stock model."""
    spec = replace(tiny_spec(kind), dtype=dtype)
    backbone, strategy = load_backbone(spec, output_layer(LABELS), seed=3), create_strategy(name, options)
    files = load_backbone(replace(spec, dtype="float32"), output_layer(LABELS), seed=3)
    files.model.save_pretrained(folder / "base")
    stock = AutoModelForSequenceClassification.from_pretrained(folder / "base")
    own = backbone.view.tunable_parameters()
    child = ChildNetwork({name: (torch.arange(p.numel()) % 5 == 1).view(p.shape) for name, p in own.items()}, 0.0, 1)
    attached = strategy.attach(backbone, {"hifi": HEADS, "child-tuning": child}.get(name))
    generator = torch.Generator().manual_seed(5)
    for parameter in {**attached.tuned(), **attached.classifier()}.values():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    attached.after_step()
    if phases := attached.phases(2):
        phases.begin(1)
    (folder / "run").mkdir()
    save_delta(describe_delta(attached, asdict(spec), "mrpc", LABELS, {}), folder / "run")
    tokens = backbone.processor(*TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        return backbone.model(**tokens).logits, stock, tokens


@pytest.mark.parametrize(
    ("name", "options", "method"),
    [
        ("hifi", {"k": 2}, "SUPERTUNING"),
        ("lora", {"r": 2}, "LORA"),
        ("ia3", {}, "IA3"),
        ("peft", {"method": "dora", "options": {"r": 2}}, "LORA"),
        ("peft", {"method": "pissa", "options": {"r": 2}}, "LORA"),
        ("peft", {"method": "vera", "options": {"r": 4}}, "VERA"),
    ],
)
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_stock_peft_answers_as_the_run(name, options, method, kind, tmp_path):
    expected, stock, tokens = run_of(name, options, tmp_path, kind)
    made = export_peft(tmp_path / "run", tmp_path / "out")
    assert made.method == method
    loaded = PeftModel.from_pretrained(stock, tmp_path / "out").eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(**tokens).logits, expected, rtol=1e-5, atol=1e-6)
        merged = loaded.merge_and_unload()
        torch.testing.assert_close(merged(**tokens).logits, expected, rtol=1e-5, atol=1e-6)
    assert type(merged) is type(stock)


def test_the_weights_of_hifi_are_equal_to_the_bit(tmp_path):
    run_of("hifi", {"k": 2}, tmp_path)
    assert export_peft(tmp_path / "run", tmp_path / "out").apart == 0
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert {tensor.dtype for name, tensor in tensors.items() if name.endswith("indices")} == {torch.int32}
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["modules_to_save"] == ["classifier", "score"]  # what peft calls the output layers of its task
    assert str(tmp_path) not in json.dumps(config)


@pytest.mark.parametrize(("dtype", "said"), [("float32", "equal to the bit"), ("bfloat16", "kept them in bfloat16")])
def test_a_run_that_kept_its_backbone_rounded_is_written_for_whole_weights(dtype, said, tmp_path, monkeypatch, capsys):
    expected, stock, tokens = run_of("hifi", {"k": 2}, tmp_path, dtype=dtype)
    monkeypatch.setattr(sys, "argv", ["export", str(tmp_path / "run"), str(tmp_path / "out")])
    assert command.main() == 0
    assert capsys.readouterr().out.splitlines()[0].endswith(said)
    loaded = PeftModel.from_pretrained(stock, tmp_path / "out").eval()
    with torch.no_grad():
        found = loaded(**tokens).logits
    apart = (found - expected).abs().max().item()
    assert apart < 1e-5 if dtype == "float32" else 1e-5 < apart < 0.02  # rounding to 8 bits


@pytest.mark.parametrize(
    ("name", "options"),
    [("hifi", {"k": 2}), ("bitfit", {}), ("diff-pruning", {}), ("child-tuning", {"strict": True, "p": 0.2})],
)
def test_single_weights_of_any_layer_are_what_peft_loads_with_our_methods(name, options, tmp_path):
    expected, stock, tokens = run_of(name, options, tmp_path)
    made = export_peft(tmp_path / "run", tmp_path / "out", form="sparse")
    assert (made.method, made.apart) == ("SPARSE_DIFFERENCE", 0)
    assert "import peftlab.peft" in (tmp_path / "out" / "README.md").read_text()
    loaded = PeftModel.from_pretrained(stock, tmp_path / "out").eval()
    with torch.no_grad():
        torch.testing.assert_close(loaded(**tokens).logits, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(loaded.merge_and_unload()(**tokens).logits, expected, rtol=1e-5, atol=1e-6)


def test_sums_that_are_rounded_are_mended_by_a_second_entry():
    model = torch.nn.Sequential(torch.nn.Linear(64, 64, bias=False))
    generator = torch.Generator().manual_seed(1)
    before = model[0].weight.data.copy_(torch.randn(64, 64, generator=generator))
    after = before.clone()
    after[:8] = torch.randn(8, 64, generator=generator) * 1e-6  # far from the old values: sums are rounded
    found = sparse_delta(model, {"0.weight": after}, set())
    entries = found.layers["0"]
    made = before.flatten().scatter_add(0, entries.indices.long(), entries.values)
    assert torch.equal(made, after.flatten())
    assert len(entries.indices) == int(64 * 64 * (1 - found.sparsity)) >= 8 * 64


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("bitfit", {}, "holds those of linear layers alone"),
        ("hifi", {"k": 2, "bias": True}, "holds those of linear layers alone"),
        ("full", {}, "holds those of linear layers alone"),
        ("adapter", {"bottleneck": 4}, "cannot be merged"),
        ("classifier", {}, "nothing but the classifier was tuned"),
        ("hifi", {"k": 4}, "whole matrices were tuned"),
    ],
)
def test_what_peft_has_no_form_for_is_refused_and_nothing_is_written(
    name, options, told, tmp_path, monkeypatch, capsys
):
    if options.get("k") == 4:
        monkeypatch.setattr(f"{__name__}.HEADS", ChosenHeads(((0, 1, 2, 3), (0, 1, 2, 3))))
    run_of(name, options, tmp_path)
    monkeypatch.setattr(sys, "argv", ["export", str(tmp_path / "run"), str(tmp_path / "out")])
    assert command.main() == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_without_a_network_the_folder_is_written_and_the_push_is_for_later(tmp_path, monkeypatch, capsys):
    run_of("lora", {"r": 2}, tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    arguments = [str(tmp_path / "run"), str(tmp_path / "out"), "--push", "me/mine"]
    monkeypatch.setattr(sys, "argv", ["export", *arguments])
    assert command.main() == 2
    assert "hf upload me/mine" in capsys.readouterr().err
    card = (tmp_path / "out" / "README.md").read_text()
    assert "library_name: peft" in card
    assert "PeftModel.from_pretrained" in card
    with pytest.raises(UserError, match="no such file"):
        export_peft(tmp_path / "nothing", tmp_path / "other")
