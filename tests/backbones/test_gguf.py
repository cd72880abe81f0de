"""A GGUF file that packages carry in pieces becomes a plain folder, once, and is then checked as any other."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from carriers import carry
from huggingface_hub import constants
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from models import output_layer
from peftlab.backbones.fingerprint import file_sha256
from peftlab.backbones.loading import BackboneSpec, load_backbone
from peftlab.backbones.sources import WEIGHTS, find_files
from peftlab.cli import CONF
from peftlab.errors import UserError

gguf = pytest.importorskip("gguf")

WIDTH, HEADS, SHARED = 64, 4, 2
TOKENS = ["<unk>", "<s>", "</s>", "<0x00>", "▁", *"abcdefghijklmnopqrstuvwxyz", *(f"x{i}" for i in range(9))]


def write_llama(path):
    """Write a Llama of one layer with matrices in 8 bits; return what they stand for, by their names in the file."""
    writer, random, stands_for = gguf.GGUFWriter(path, "llama"), np.random.default_rng(0), {}
    writer.add_context_length(64), writer.add_embedding_length(WIDTH), writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH), writer.add_head_count(HEADS), writer.add_head_count_kv(SHARED)
    writer.add_layer_norm_rms_eps(1e-6), writer.add_rope_freq_base(1e4), writer.add_vocab_size(len(TOKENS))
    writer.add_tokenizer_model("llama"), writer.add_token_list(TOKENS), writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types([2, 3, 3, 6] + [1] * (len(TOKENS) - 4))
    writer.add_unk_token_id(0), writer.add_bos_token_id(1), writer.add_eos_token_id(2)
    rows = {
        "attn_q": WIDTH,
        "attn_k": 32,
        "attn_v": 32,
        "attn_output": WIDTH,
        "ffn_gate": 64,
        "ffn_up": 64,
        "ffn_down": 64,
    }
    shapes = {"token_embd.weight": len(TOKENS), "output.weight": len(TOKENS)}
    for name, height in {**shapes, **{f"blk.0.{name}.weight": height for name, height in rows.items()}}.items():
        drawn = random.standard_normal((height, WIDTH)).astype(np.float32) / 10
        stored = gguf.quants.quantize(drawn, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, stored, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        stands_for[name] = torch.from_numpy(gguf.quants.dequantize(stored, gguf.GGMLQuantizationType.Q8_0))
    for name in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(WIDTH, np.float32))
    writer.write_header_to_file(), writer.write_kv_data_to_file(), writer.write_tensors_to_file(), writer.close()
    return stands_for


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    file = tmp_path_factory.mktemp("gguf") / "llama.gguf"
    return write_llama(file), file


@pytest.fixture
def packages(llama, tmp_path, monkeypatch):
    """Three installed packages that carry the file between them, and an empty cache."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    (tmp_path / "site").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return carry(tmp_path / "site", [f"llama.gguf.part0{number}" for number in range(3)], llama[1].read_bytes())


def find(packages, sha256=None):
    return find_files("here", None, None, None, sha256, packages)


def test_what_the_file_stands_for_is_written_once_as_a_plain_folder(llama, packages):
    stands_for, file = llama
    folder = find(packages, file_sha256(file))
    written, config = load_file(folder / WEIGHTS), json.loads((folder / "config.json").read_text())
    names = {"token_embd": "model.embed_tokens", "output": "lm_head", "blk.0.ffn_up": "model.layers.0.mlp.up_proj"}
    names |= {"blk.0.attn_v": "model.layers.0.self_attn.v_proj", "blk.0.attn_output": "model.layers.0.self_attn.o_proj"}
    for ours, theirs in names.items():
        torch.testing.assert_close(written[f"{theirs}.weight"], stands_for[f"{ours}.weight"], rtol=0, atol=0)
    assert {tensor.dtype for tensor in written.values()} == {torch.float32}
    assert "quantization_config" not in config
    first = (folder / WEIGHTS).stat()
    assert find(packages, file_sha256(file)) == folder
    assert (folder / WEIGHTS).stat().st_mtime_ns == first.st_mtime_ns
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_it_is_loaded_as_any_folder_with_a_pad_that_is_said(llama, packages, caplog):
    spec = BackboneSpec("here", parts=packages, sha256=file_sha256(llama[1]))
    with caplog.at_level("INFO"):
        backbone = load_backbone(spec, output_layer(["no", "yes"]), 1)
    assert backbone.processor("abc")["input_ids"] == [1, 4, 5, 6, 7]
    assert backbone.model(input_ids=torch.tensor([[1, 4, 5]])).logits.shape == (1, 2)
    assert "backbone=here: pads are </s>, the model had none" in caplog.messages


def test_another_file_or_altered_weights_are_refused_in_one_line(llama, packages):
    right = file_sha256(llama[1])
    with pytest.raises(UserError, match=rf"backbone=here: llama.gguf has sha256 {right}, expected 00"):
        find(packages, "00")
    folder = find(packages, right)
    with (folder / WEIGHTS).open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    with pytest.raises(UserError, match=rf"{WEIGHTS} has sha256 [0-9a-f]+, expected"):
        find(packages, right)


def test_a_strangers_folder_does_not_vouch_for_itself(llama, packages, tmp_path):
    right = file_sha256(llama[1])
    folder = find(packages, right)
    with pytest.raises(UserError, match=f"expected {right}"):
        find_files("here", str(folder), None, None, right)


def test_a_file_that_is_none_is_told_in_one_line(tmp_path, packages):
    (tmp_path / "site" / "part-0" / "llama.gguf.part00").write_bytes(b"GGUX" * 100)
    with pytest.raises(UserError, match=r"backbone=here: llama.gguf cannot be read: ") as caught:
        find(packages)
    assert "\n" not in str(caught.value)


def test_without_the_package_that_reads_it_one_line_says_what_to_install(packages, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="reading it takes `pip install --no-deps gguf`"):
        find(packages)


def test_of_two_that_begin_at_once_one_writes(packages, tmp_path):
    program = f"""
import sys
sys.path.insert(0, {str(tmp_path / "site")!r})
from peftlab.backbones.sources import find_files
print(find_files("here", None, None, None, None, {packages}))
"""
    home = {**os.environ, "HF_HOME": str(tmp_path / "home")}
    both = [subprocess.Popen([sys.executable, "-c", program], env=home, stdout=subprocess.PIPE) for _ in range(2)]
    assert len({one.communicate()[0] for one in both}) == 1
    assert [one.returncode for one in both] == [0, 0]
    assert [path.name for path in (tmp_path / "home" / "peftlab").iterdir()] == ["here-any"]


def test_gemma_knows_english():
    options = yaml.safe_load((CONF / "backbone" / "gemma3-270m.yaml").read_text())
    cached = Path(constants.HF_HOME) / "peftlab" / f"gemma3-270m-{options['sha256'][:12]}"
    if not cached.is_dir():
        pytest.skip("gemma3-270m is not in the cache: `make backbones`, and any run of it")
    folder = find_files("gemma3-270m", None, None, None, options["sha256"], options["parts"])
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    assert model.num_parameters() == 268_098_176
    ids = tokenizer("The quick brown fox jumps over the lazy dog.", return_tensors="pt").input_ids
    with torch.no_grad():
        assert float(model(input_ids=ids, labels=ids).loss) < 4  # nats a token; by chance ln 262144 = 12.5
